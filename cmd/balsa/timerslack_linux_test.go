package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
)

// A member runs with relaxed timers, and is the process that was started: whoever started it knows it by its id.
func TestTimersAreRelaxed(t *testing.T) {
	flags, _ := alone(t, t.TempDir())
	p := serving(t, flags...)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", p.cmd.Process.Pid))
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
