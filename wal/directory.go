package wal

import (
	"errors"
	"fmt"
	"io/fs"
)

// directory is the second, separate account of what a segment holds. It is written when the segment is full, and
// names what a damaged region of the segment held; the segment itself never depends on it, and it can be made again from
// a sound segment.
//
//	16  u64  cluster, member, 16 bytes data directory
//	48  u64  segment, end of its batches, number of runs
//	72       runs × 48: a run as in a batch, and the offset of its batch
type directory struct {
	identity Identity
	segment  uint64
	end      int64
	runs     []located
}

// located is a run and the offset of the batch that it is in.
type located struct {
	run
	batch int64
}

const (
	directoryFixed = 72
	locatedSize    = runSize + 8
)

func (d *directory) encode() []byte {
	w := writer{make([]byte, prefixSize, directoryFixed+len(d.runs)*locatedSize)}
	w.identity(d.identity)
	w.u64(d.segment)
	w.u64(uint64(d.end))
	w.u64(uint64(len(d.runs)))
	for _, v := range d.runs {
		w.run(v.run)
		w.u64(uint64(v.batch))
	}
	seal(w.b, magicDirectory, 0, 0)
	return w.b
}

func decodeDirectory(b []byte) (*directory, error) {
	r := reader{b[prefixSize:]}
	d := &directory{identity: r.identity(), segment: r.u64(), end: int64(r.u64())}
	n := r.u64()
	if n > uint64(len(r.b)/locatedSize) || d.end < 0 {
		return nil, errors.New("the directory contradicts itself")
	}
	for range n {
		v := located{run: r.run()}
		v.batch = int64(r.u64())
		if !v.valid() || v.batch < 0 {
			return nil, errors.New("the directory lists a run that is not one")
		}
		d.runs = append(d.runs, v)
	}
	return d, nil
}

// readDirectory reads a segment's directory. It returns an *unsound where it cannot be used.
func (f files) readDirectory(number uint64, id Identity) (*directory, error) {
	name := f.path(directoryName(number))
	file, err := f.fs.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &unsound{err}
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	w := &window{file: file, name: name}
	if w.size, err = file.Size(); err != nil {
		return nil, err
	}
	h, err := w.header(0, magicDirectory, directoryFixed, 0)
	if err != nil {
		return nil, err
	}
	d, err := decodeDirectory(h)
	if err != nil {
		return nil, &unsound{err}
	}
	if d.segment != number || d.identity != id {
		return nil, &unsound{fmt.Errorf("it is the directory of segment %d of %v", d.segment, d.identity)}
	}
	return d, nil
}

// writeDirectory makes a full segment's directory from the segment, up to its first bad batch.
func (f files) writeDirectory(number uint64, id Identity) error {
	d, err := f.makeDirectory(number, id)
	if err != nil {
		return err
	}
	name := f.path(directoryName(number))
	file, err := f.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = f.fs.Create(name)
	}
	if err != nil {
		return err
	}
	b := d.encode()
	_, err = file.WriteAt(b, 0)
	if err == nil {
		err = file.Truncate(int64(len(b)))
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return f.fs.SyncDir(f.dir)
}

func (f files) makeDirectory(number uint64, id Identity) (*directory, error) {
	w, err := f.window(number)
	if err != nil {
		return nil, err
	}
	defer w.file.Close()
	h, err := w.readHead(number)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	d := &directory{identity: id, segment: number, end: h.size}
	salt := id.salt(number)
	for {
		var b batch
		err := w.readBatch(&b, Position{number, d.end}, salt)
		if errors.As(err, new(*unsound)) {
			return d, nil
		}
		if err != nil {
			return nil, err
		}
		for _, v := range b.runs {
			d.runs = append(d.runs, located{v, d.end})
		}
		d.end = b.end()
	}
}
