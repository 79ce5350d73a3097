package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A member runs with relaxed timers, and is the process that was started: whoever started it knows it by its id,
// and finds it by the program's name.
func TestTimersAreRelaxed(t *testing.T) {
	flags, _ := alone(t, t.TempDir())
	p := serving(t, flags...)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", p.cmd.Process.Pid))
	name, failed := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid))
	if want := filepath.Base(os.Args[0]); failed != nil || !strings.HasPrefix(want, strings.TrimSpace(string(name))) {
		t.Errorf("the process is called %q (%v) and should be %q", name, failed, want)
	}
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("the kernel lets only privileged processes read another's timer slack:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	slack, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || slack != int(timerSlack) {
		t.Fatalf("timers may be %q ns late (%v), and should be %d", text, err, timerSlack)
	}
}
