package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Every key starts with the group that it belongs to and the space that it is in:
//
//	group u64 big endian, space u8, ...
//
// so that many groups share an engine, and one group's keys can be removed or copied as one range. In the space
// Versioned a key goes on with an escaped name, which ends itself, and a version:
//
//	name with 0x00 written as 0x00 0xFF, 0x00 0x01, version (any bytes)
//
// Escaped names sort like the names. No escaped name is a prefix of another, hence sorting by (name, version)
// and sorting by bytes are the same thing, which is what Pebble asks of a Split function.

// HeaderSize is the length of a key's group and space.
const HeaderSize = 9

// Versioned is the space in which keys have a version.
const Versioned = 'v'

const (
	escape     = 0x00
	escaped00  = 0xFF
	terminator = 0x01
)

// AppendHeader appends the start of the keys of a group's space.
func AppendHeader(dst []byte, group uint64, space byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, group), space)
}

// AppendName appends an escaped name.
func AppendName(dst, name []byte) []byte {
	for {
		i := bytes.IndexByte(name, escape)
		if i < 0 {
			return append(append(dst, name...), escape, terminator)
		}
		dst = append(append(dst, name[:i]...), escape, escaped00)
		name = name[i+1:]
	}
}

// CutName takes an escaped name off key, which must not have a header any more. The name aliases key where it
// holds no zero byte, and is appended to buffer otherwise.
func CutName(buffer, key []byte) (name, version []byte, err error) {
	start := len(buffer)
	for rest := key; ; {
		i := bytes.IndexByte(rest, escape)
		if i < 0 || i+1 == len(rest) {
			return nil, nil, fmt.Errorf("engine: key %q: the name has no end", key)
		}
		switch rest[i+1] {
		case terminator:
			if len(buffer) == start { // nothing was escaped
				return key[:i], key[i+2:], nil
			}
			buffer = append(buffer, rest[:i]...)
			return buffer[start:], rest[i+2:], nil
		case escaped00:
			buffer = append(append(buffer, rest[:i]...), 0)
			rest = rest[i+2:]
		default:
			return nil, nil, fmt.Errorf("engine: key %q: escape %#02x is unknown", key, rest[i+1])
		}
	}
}

// Split returns the length of key's prefix: in the versioned space up to the end of the name, elsewhere all of it.
// It accepts any bytes, since bounds and separators need not be whole keys.
func Split(key []byte) int {
	if len(key) <= HeaderSize || key[HeaderSize-1] != Versioned {
		return len(key)
	}
	for at := HeaderSize; ; {
		i := bytes.IndexByte(key[at:], escape)
		if i < 0 || at+i+1 == len(key) {
			return len(key)
		}
		at += i + 2
		if key[at-1] == terminator {
			return at
		}
	}
}

// AppendSuccessor appends the smallest prefix that is greater than prefix and than every key that has it. Where
// prefix ends a name, that is an escape which no name holds; elsewhere there are no versions to step over.
func AppendSuccessor(dst, prefix []byte) []byte {
	dst = append(dst, prefix...)
	if named(prefix) {
		dst[len(dst)-1] = terminator + 1
		return dst
	}
	return append(dst, 0)
}

// named reports whether a prefix (Split(prefix) == len(prefix)) holds a whole name.
func named(prefix []byte) bool {
	if len(prefix) <= HeaderSize+1 || prefix[HeaderSize-1] != Versioned {
		return false
	}
	for at := HeaderSize; ; {
		i := bytes.IndexByte(prefix[at:], escape)
		if i < 0 || at+i+1 == len(prefix) {
			return false
		}
		at += i + 2
		if prefix[at-1] == terminator {
			return at == len(prefix)
		}
	}
}
