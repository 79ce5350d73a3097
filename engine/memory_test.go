package engine_test

import (
	"testing"

	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/engine/enginetest"
)

type memoryDisk struct{ current *engine.Memory }

func (d *memoryDisk) Open() (engine.Engine, error) { return d.current, nil }
func (d *memoryDisk) Crash() enginetest.Disk       { return &memoryDisk{d.current.Crash()} }
func (d *memoryDisk) OpenCheckpoint(dir string) (engine.Engine, error) {
	return d.current.OpenCheckpoint(dir)
}

func TestMemoryConforms(t *testing.T) {
	enginetest.Run(t, func() enginetest.Disk { return &memoryDisk{engine.NewMemory()} }, enginetest.Options{})
}

type memoryHomeDisk struct{ home *engine.MemoryHome }

func (d *memoryHomeDisk) Home() engine.Home          { return d.home }
func (d *memoryHomeDisk) Crash() enginetest.HomeDisk { return &memoryHomeDisk{d.home.Crash()} }

func TestMemoryHomeConforms(t *testing.T) {
	newDisk := func() enginetest.HomeDisk { return &memoryHomeDisk{engine.NewMemoryHome()} }
	enginetest.RunHome(t, newDisk, enginetest.Options{})
}
