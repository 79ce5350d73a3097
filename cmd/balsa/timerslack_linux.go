package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is by how much the kernel may let this process's timers be late. Nothing that a member waits for is timed
// more finely than that.
const timerSlack = time.Millisecond

// relaxTimers lets the kernel group the process's timers. Go's runtime has a thread that looks every 20 µs for others which
// are stuck in a system call; a member nearly always has one, that which syncs the log, so that under load this polling
// was an eighth of a put's processor time. With slack it polls once a millisecond.
//
// Slack belongs to threads, and is inherited by those that they start and by what they execute. Since the runtime's
// thread is there before any of our code runs, the process executes itself once more, before it has opened anything.
// Where any of that is refused the member runs all the same, with more polling.
func relaxTimers() {
	runtime.LockOSThread() // the slack is to be set on the thread that executes
	defer runtime.UnlockOSThread()
	now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || now >= int(timerSlack) {
		return
	}
	program, err := os.Executable() // by its own path: its name is what ps and pidof show
	if err == nil && unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) == nil {
		syscall.Exec(program, os.Args, os.Environ())
	}
}
