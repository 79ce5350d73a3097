package main

import (
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// hugeHeap is how much of the heap may lie in huge pages: what a member takes that is asked for much. It is memory only where it is used.
const hugeHeap = 256 << 20

// preferHugePages asks the kernel for huge pages where the heap will grow. Each put grows it, and a page fault for each
// few of them, on three members, was a tenth of a put's processor time; much more in a virtual machine.
//
// Advice belongs to addresses, and Go's heap keeps its addresses: memory that is advised and given back, untouched, is
// advised when it is used again. Where the kernel has no huge pages nothing changes.
func preferHugePages() {
	room := make([]byte, hugeHeap)
	advised := unix.Madvise(room, unix.MADV_HUGEPAGE) == nil
	runtime.KeepAlive(room)
	if advised {
		debug.FreeOSMemory()
	}
}
