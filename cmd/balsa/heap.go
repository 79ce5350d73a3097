package main

import (
	"os"
	"runtime/debug"
)

// garbagePercent is how much garbage may gather, in percent of what lives, before it is collected. Go's 100 would make a
// member twice as large as what it needs. Most of that are the engine's blocks and memtables, which hold no pointers,
// so that a collection costs little, however large they are.
const garbagePercent = 50

// boundHeap bounds what garbage takes, unless GOGC says otherwise. No limit is set (GOMEMLIMIT can): where what lives comes near
// a limit, Go collects without a pause.
func boundHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}
