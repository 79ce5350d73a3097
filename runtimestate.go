package balsa

import (
	"encoding/binary"
	"fmt"

	"github.com/balsadb/balsa/raft"
)

// RuntimeKeeper is a DurableStateMachine that stores Batch.Runtime. Without it the members of a group cannot change, since after a
// restart nobody knew who they are.
type RuntimeKeeper interface {
	DurableStateMachine
	// Runtime returns what the last batch that had a Runtime held; nil where none had. It is called at the start.
	Runtime() ([]byte, error)
}

// What the runtime itself must remember at a position, version 1, little endian:
//
//	0  u8   version
//	1  u8   compatible features, u8 incompatible ones, u8 zero
//	4  u64  index of the configuration, u32 its length, the configuration as raft encodes it
const (
	runtimeVersion = 1
	runtimeHead    = 16
)

func encodeRuntime(c *raft.ConfigurationAt) []byte {
	if c == nil {
		return nil
	}
	configuration := c.Encode()
	b := append(make([]byte, 0, runtimeHead+len(configuration)), runtimeVersion, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Index))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(configuration)))
	return append(b, configuration...)
}

// decodeRuntime is the inverse of encodeRuntime; nil for nothing.
func decodeRuntime(b []byte) (*raft.ConfigurationAt, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < runtimeHead {
		return nil, fmt.Errorf("what the runtime keeps beside the state has %d bytes, and at least %d", len(b), runtimeHead)
	}
	if b[0] != runtimeVersion || b[2] != 0 {
		return nil, fmt.Errorf("what the runtime keeps beside the state has version %d with incompatible features %#02x, this build reads version %d without any: "+
			"use the version of balsa that wrote it", b[0], b[2], runtimeVersion)
	}
	c := &raft.ConfigurationAt{Index: Index(binary.LittleEndian.Uint64(b[4:]))}
	n := int(binary.LittleEndian.Uint32(b[12:]))
	if len(b)-runtimeHead < n {
		return nil, fmt.Errorf("what the runtime keeps beside the state ends within its configuration of %d bytes", n)
	}
	var err error
	c.Configuration, err = raft.DecodeConfiguration(b[runtimeHead : runtimeHead+n])
	return c, err
}

// KeptConfiguration returns the configuration in what a RuntimeKeeper keeps, nil where none is: for tools that look at a state
// that nobody runs.
func KeptConfiguration(runtime []byte) (*raft.ConfigurationAt, error) { return decodeRuntime(runtime) }
