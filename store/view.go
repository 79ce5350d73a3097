package store

import (
	"bytes"
	"context"
	"fmt"

	"github.com/balsadb/balsa/engine"
)

// view reads versions: from the engine, and on top of it from the overlay of the batch that is being applied, if
// there is one. It is for one goroutine. Its iterators see the engine as it was at the first read.
type view struct {
	layout
	reader  engine.Reader
	overlay *overlay // nil where committed state only is read
	census  *buckets // as of revision at; nil where it is not known
	at      int64

	index, log engine.Iterator
	seekKey    []byte
	nameBuffer []byte
	keyBuffer  []byte
	logKey     []byte
}

// found is a live version of a key.
type found struct {
	key []byte // valid until the view is used again
	version
	value  []byte // set where the version is the overlay's
	loaded bool
}

// everything as an end of a range means that there is none.
var everything []byte

// interval is a range of keys as requests give it: one key, or [start, end), or all keys from start.
type interval struct {
	start, end []byte // an empty end is open
	single     bool
}

// newInterval reads key and range_end of a request.
func newInterval(key, rangeEnd []byte) interval {
	switch {
	case len(rangeEnd) == 0:
		return interval{start: key, single: true}
	case len(rangeEnd) == 1 && rangeEnd[0] == 0:
		return interval{start: key, end: everything}
	}
	return interval{start: key, end: rangeEnd}
}

// open makes the index iterator.
func (v *view) open() error {
	if v.index != nil {
		return nil
	}
	var err error
	v.index, err = v.reader.NewIterator(v.single(spaceIndex), v.indexEnd())
	return err
}

// openLog makes the iterator over the revision log.
func (v *view) openLog() error {
	if v.log != nil {
		return nil
	}
	var err error
	v.log, err = v.reader.NewIterator(v.single(spaceLog), v.single(spaceLog+1))
	return err
}

// close ends the view. It may be used again and sees the then current state.
func (v *view) close() error {
	var first error
	for _, i := range [...]engine.Iterator{v.index, v.log} {
		if i == nil {
			continue
		}
		if err := i.Close(); err != nil && first == nil {
			first = err
		}
	}
	v.index, v.log = nil, nil
	return first
}

const maxRevision = 1<<63 - 1

// engineAt returns the engine's newest version of key that is not newer than at.
func (v *view) engineAt(key []byte, at revision) (version, bool, error) {
	if err := v.open(); err != nil {
		return version{}, false, err
	}
	v.seekKey = appendVersion(v.appendName(v.seekKey[:0], key), at)
	if !v.index.SeekPrefixGE(v.seekKey) {
		return version{}, false, v.index.Error()
	}
	result, _, err := v.currentVersion()
	return result, err == nil, err
}

// indexKey decodes the key that the index iterator stands on. The name is valid until the next call, or until it moves.
func (v *view) indexKey() (name []byte, at revision, err error) {
	key := v.index.Key()
	name, at, err = cutIndexKey(v.nameBuffer[:0], key)
	if escaped := len(key) != engine.HeaderSize+len(name)+2+versionSize; escaped && err == nil {
		v.nameBuffer = name[:0] // it may have grown
	}
	return name, at, err
}

// currentVersion decodes what the index iterator stands on. The name is valid until it moves.
func (v *view) currentVersion() (result version, name []byte, err error) {
	name, result.at, err = v.indexKey()
	if err != nil {
		return version{}, nil, err
	}
	value := v.index.Value()
	if err := v.index.Error(); err != nil {
		return version{}, nil, err
	}
	return result, name, decodeIndexValue(&result, value)
}

// get returns the live version of key as of revision rev; ok says whether there is one.
func (v *view) get(key []byte, rev int64) (f found, ok bool, err error) {
	f.key = key
	if v.overlay != nil {
		if w := v.overlay.get(key); w != nil {
			if written := w.at(rev); written != nil {
				f.version, f.value, f.loaded = written.version, written.value, true
				return f, !f.tombstone, nil
			}
		}
	}
	f.version, ok, err = v.engineAt(key, lastOf(rev))
	return f, ok && !f.tombstone, err
}

// checkEvery is how many keys a scan passes between two looks at its context.
const checkEvery = 256

// scan calls visit for the keys in the interval that are live as of revision rev, in order, until it returns
// false or an error.
func (v *view) scan(ctx context.Context, in interval, rev int64, visit func(*found) (bool, error)) error {
	if in.single {
		f, ok, err := v.get(in.start, rev)
		if err != nil || !ok {
			return err
		}
		_, err = visit(&f)
		return err
	}
	if err := v.open(); err != nil {
		return err
	}
	m := merge{view: v, in: in, rev: rev}
	if v.overlay != nil {
		m.overlay = v.overlay.walk(in.start)
	}
	if len(in.end) > 0 {
		m.upper = v.appendName(nil, in.end)
	}
	m.seek(in.start)
	for n := 0; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		f, ok, err := m.next()
		if err != nil || !ok {
			return err
		}
		if f.tombstone {
			continue
		}
		if more, err := visit(&f); err != nil || !more {
			return err
		}
	}
}

// merge walks over the keys of the engine and of the overlay together.
type merge struct {
	view    *view
	in      interval
	rev     int64
	upper   []byte // index prefix of the end; nil where it is open
	overlay *overlayWalk

	atEngine bool // the index iterator stands on a key
}

func (m *merge) seek(start []byte) {
	v := m.view
	v.seekKey = v.appendName(v.seekKey[:0], start)
	m.atEngine = v.index.SeekGE(v.seekKey)
}

// engineName returns the name of the key that the index iterator stands on, nil at the end of the interval.
func (m *merge) engineName() ([]byte, error) {
	v := m.view
	if !m.atEngine {
		return nil, v.index.Error()
	}
	key := v.index.Key()
	if m.upper != nil && bytes.Compare(key, m.upper) >= 0 {
		m.atEngine = false
		return nil, nil
	}
	name, _, err := v.indexKey()
	return name, err
}

// overlayKey returns the overlay's current key, nil at the end of the interval.
func (m *merge) overlayKey() *written {
	if m.overlay == nil || !m.overlay.valid {
		return nil
	}
	w := m.overlay.current()
	if len(m.in.end) > 0 && w.key >= string(m.in.end) {
		m.overlay.valid = false
		return nil
	}
	return w
}

// next returns the version of the next key as of the merge's revision, which may be a tombstone. Keys without
// one are passed over.
func (m *merge) next() (f found, ok bool, err error) {
	for {
		name, err := m.engineName()
		if err != nil {
			return found{}, false, err
		}
		w := m.overlayKey()
		if !m.atEngine && w == nil {
			return found{}, false, nil
		}
		if w != nil && (!m.atEngine || w.key <= string(name)) {
			same := m.atEngine && w.key == string(name)
			m.overlay.next()
			if written := w.at(m.rev); written != nil {
				if same {
					m.atEngine = m.view.index.NextPrefix()
				}
				return found{key: []byte(w.key), version: written.version, value: written.value, loaded: true}, true, nil
			}
			if !same {
				continue
			}
		}
		f, ok, err := m.engineVersion()
		if err != nil || ok {
			return f, ok, err
		}
	}
}

// engineVersion reads the version as of the merge's revision of the key that the index iterator stands on, and
// moves on to the next key.
func (m *merge) engineVersion() (f found, ok bool, err error) {
	v := m.view
	_, at, err := v.indexKey()
	if err != nil {
		return found{}, false, err
	}
	if at.main > m.rev {
		prefix := len(v.index.Key()) - versionSize
		v.seekKey = appendVersion(append(v.seekKey[:0], v.index.Key()[:prefix]...), lastOf(m.rev))
		m.atEngine = v.index.SeekGE(v.seekKey)
		if !m.atEngine || !bytes.HasPrefix(v.index.Key(), v.seekKey[:prefix]) {
			return found{}, false, v.index.Error()
		}
	}
	var name []byte
	if f.version, name, err = v.currentVersion(); err != nil {
		return found{}, false, err
	}
	v.keyBuffer = append(v.keyBuffer[:0], name...)
	f.key = v.keyBuffer
	m.atEngine = v.index.NextPrefix()
	return f, true, nil
}

// load fetches the value of a version, unless it is there.
func (v *view) load(f *found) error {
	if f.loaded {
		return nil
	}
	record, err := v.logged(f.at)
	if err != nil {
		return err
	}
	if record.tombstone || !bytes.Equal(record.key, f.key) || int64(len(record.value)) != f.valueSize {
		return fmt.Errorf("%w: revision %d.%d is not about key %q", errCorrupt, f.at.main, f.at.sub, f.key)
	}
	f.value, f.loaded = bytes.Clone(record.value), true
	return nil
}

// logged reads a record of the revision log, which must be there. What it returns is valid until the next call.
func (v *view) logged(at revision) (logged, error) {
	if err := v.openLog(); err != nil {
		return logged{}, err
	}
	v.logKey = v.appendLogKey(v.logKey[:0], at)
	if !v.log.SeekPrefixGE(v.logKey) {
		if err := v.log.Error(); err != nil {
			return logged{}, err
		}
		return logged{}, fmt.Errorf("%w: revision %d.%d is missing", errCorrupt, at.main, at.sub)
	}
	value := v.log.Value()
	if err := v.log.Error(); err != nil {
		return logged{}, err
	}
	return decodeLogValue(at, value)
}
