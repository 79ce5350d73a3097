package main

import (
	"bufio"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// advised returns how many bytes of this process are advised to lie in huge pages.
func advised(t *testing.T) (bytes int) {
	t.Helper()
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	area := regexp.MustCompile(`^([0-9a-f]+)-([0-9a-f]+) `)
	size := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if bounds := area.FindStringSubmatch(line); bounds != nil {
			low, _ := strconv.ParseUint(bounds[1], 16, 64)
			high, _ := strconv.ParseUint(bounds[2], 16, 64)
			size = int(high - low)
		}
		if strings.HasPrefix(line, "VmFlags:") && strings.Contains(line, " hg") {
			bytes += size
		}
	}
	return bytes
}

func TestHeapPrefersHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel has no transparent huge pages:", err)
	}
	before := advised(t)
	preferHugePages()
	if more := advised(t) - before; more < hugeHeap {
		t.Fatalf("%d bytes more are advised to lie in huge pages, and %d should be", more, hugeHeap)
	}
}
