package wal

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/balsadb/balsa/vfs"
)

// segment is one file of the log.
type segment struct {
	number uint64
	file   vfs.File
	size   int64  // of the file, its preallocated tail included
	salt   uint32 // what its batches' checksums start from
}

const (
	segmentSuffix   = ".wal"
	directorySuffix = ".dir"
	lockName        = "LOCK"
)

func segmentName(number uint64) string   { return fmt.Sprintf("%016x%s", number, segmentSuffix) }
func directoryName(number uint64) string { return fmt.Sprintf("%016x%s", number, directorySuffix) }

// parseName reads the number off a file's name.
func parseName(name, suffix string) (number uint64, ok bool) {
	digits, found := strings.CutSuffix(name, suffix)
	if !found || len(digits) != 16 {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil && number > 0 && name == fmt.Sprintf("%016x%s", number, suffix)
}

// files is the directory of a log.
type files struct {
	fs  vfs.FS
	dir string
}

func (f files) path(name string) string { return path.Join(f.dir, name) }

// segments lists the numbers of the segment files, ascending, and names that do not belong to a log.
func (f files) segments() (numbers []uint64, others []string, err error) {
	names, err := f.fs.List(f.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if number, ok := parseName(name, segmentSuffix); ok {
			numbers = append(numbers, number)
			continue
		}
		if _, ok := parseName(name, directorySuffix); !ok && name != lockName && name != voteNames[0] && name != voteNames[1] && !isRepairFile(name) {
			others = append(others, name)
		}
	}
	return numbers, others, nil
}

// create makes a segment file of the given size, reading as zeros, whose name is durable. Where it fails it
// leaves no file behind, if it can.
func (f files) create(number uint64, size int64) (*segment, error) {
	name := f.path(segmentName(number))
	file, err := f.fs.Create(name)
	if err != nil {
		return nil, err
	}
	err = file.Preallocate(size)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = f.fs.SyncDir(f.dir)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), f.fs.Remove(name))
	}
	return &segment{number: number, file: file, size: size}, nil
}

// window reads a file through a buffer that moves forward over it.
type window struct {
	file vfs.File
	name string
	size int64
	buf  []byte
	base int64
}

const windowSize = 1 << 20

func (f files) window(number uint64) (*window, error) {
	name := f.path(segmentName(number))
	file, err := f.fs.OpenRead(name)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &window{file: file, name: name, size: size}, nil
}

// bytes returns n bytes at off, valid until the next call. off+n is within the file's size.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off >= w.base && off+n <= w.base+int64(len(w.buf)) {
		return w.buf[off-w.base:][:n], nil
	}
	want := min(max(n, windowSize), w.size-off)
	if int64(cap(w.buf)) < want {
		w.buf = make([]byte, want)
	}
	w.buf, w.base = w.buf[:want], off
	if got, err := w.file.ReadAt(w.buf, off); int64(got) < n {
		w.buf = w.buf[:0]
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("reading %s at byte %d: %w", w.name, off, err)
	} else {
		w.buf = w.buf[:got]
	}
	return w.buf[:n], nil
}
