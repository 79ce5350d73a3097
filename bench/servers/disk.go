package servers

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// allocated is how much of the disk a file takes: sparse and preallocated files are not what their length says.
func allocated(entry fs.DirEntry) (int64, error) {
	info, err := entry.Info()
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size(), nil
	}
	return stat.Blocks * 512, nil
}

// DeviceFlushes reads how many cache flushes the disk under dir has completed, field 16 of its line in
// /proc/diskstats; 0 where the disk is not listed there.
func DeviceFlushes(dir string) (float64, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return 0, fmt.Errorf("stat %s: %w", dir, err)
	}
	major, minor := strconv.Itoa(int(unix.Major(stat.Dev))), strconv.Itoa(int(unix.Minor(stat.Dev)))
	text, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) >= 19 && fields[0] == major && fields[1] == minor {
			return strconv.ParseFloat(fields[18], 64)
		}
	}
	return 0, nil
}
