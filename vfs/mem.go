package vfs

import (
	"io"
	"io/fs"
	"path"
	"sort"
	"sync"
	"syscall"
)

// Mem is a disk in memory that keeps what was not synced apart from what was, so that its power can be cut.
//
// What everybody reads is the page cache: all that was written. What survives PowerCut is what Sync and SyncDir
// covered, and of the rest whatever the seed says: sectors of 512 bytes are kept or lost one by one, in any order, and of the
// changes of a directory a prefix is kept. After a Sync that failed, what it should have covered stays readable, and is
// durable only if it is written again: that is how a real page cache behaves (E45).
//
// All methods may be called concurrently. Operations are deterministic: no clock, no randomness but what PowerCut is handed.
type Mem struct {
	mu         sync.Mutex
	root       *memDir
	locks      map[string]bool
	onOp       func(Op) error
	ops        uint64
	ignoreSync bool
	off        bool
}

// NewMem returns an empty disk.
func NewMem() *Mem { return &Mem{root: newMemDir(), locks: map[string]bool{}} }

// OnOp sets a function that is asked before each mutating operation. Where it returns an error the operation fails with
// it and changes nothing, but for a *PartialError, which lets a write through in part, and a failed Sync, which dooms
// what it should have covered.
func (d *Mem) OnOp(hook func(Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onOp = hook
}

// IgnoreSync makes Sync and SyncDir report success and do nothing: the fault that tests of durability must notice.
func (d *Mem) IgnoreSync(ignore bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ignoreSync = ignore
}

// begin announces an operation and asks the hook. The lock is not held meanwhile, so that the hook may use the disk.
func (d *Mem) begin(op Op) error {
	d.mu.Lock()
	if d.off {
		d.mu.Unlock()
		return ErrPowerOff
	}
	d.ops++
	op.N = d.ops
	hook := d.onOp
	d.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(op)
}

// memNode is a file or a directory.
type memNode struct {
	file *memFile
	dir  *memDir
}

// memDir is a directory: the names that everybody sees, those that are durable, and the changes in between, in order.
type memDir struct {
	names, durable map[string]*memNode
	pending        []map[string]*memNode // each change's names with their new nodes; nil removes the name
}

func newMemDir() *memDir {
	return &memDir{names: map[string]*memNode{}, durable: map[string]*memNode{}}
}

func (m *memDir) change(change map[string]*memNode) {
	applyNames(m.names, change)
	m.pending = append(m.pending, change)
}

func applyNames(names, change map[string]*memNode) {
	for name, node := range change {
		if node == nil {
			delete(names, name)
		} else {
			names[name] = node
		}
	}
}

func (m *memDir) sync() {
	for _, change := range m.pending {
		applyNames(m.durable, change)
	}
	m.pending = nil
}

// dir finds a directory. The lock is held.
func (d *Mem) dir(name string) (*memDir, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	at := d.root
	for name != "." {
		head, rest := splitFirst(name)
		node := at.names[head]
		switch {
		case node == nil:
			return nil, fs.ErrNotExist
		case node.dir == nil:
			return nil, syscall.ENOTDIR
		}
		at, name = node.dir, rest
	}
	return at, nil
}

func splitFirst(name string) (head, rest string) {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i+1:]
		}
	}
	return name, "."
}

// find returns the directory that holds name, the last element of name, and what is there (nil where nothing is).
func (d *Mem) find(name string) (parent *memDir, base string, node *memNode, err error) {
	if d.off {
		return nil, "", nil, ErrPowerOff
	}
	if !fs.ValidPath(name) || name == "." {
		return nil, "", nil, fs.ErrInvalid
	}
	parent, err = d.dir(path.Dir(name))
	if err != nil {
		return nil, "", nil, err
	}
	base = path.Base(name)
	return parent, base, parent.names[base], nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Create implements FS.
func (d *Mem) Create(name string) (File, error) {
	if err := d.begin(Op{Kind: OpCreate, Name: name}); err != nil {
		return nil, pathError("create", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, base, node, err := d.find(name)
	if err == nil && node != nil {
		err = fs.ErrExist
	}
	if err != nil {
		return nil, pathError("create", name, err)
	}
	file := &memFile{}
	parent.change(map[string]*memNode{base: {file: file}})
	return &memHandle{disk: d, file: file, name: name, writable: true}, nil
}

// Open implements FS.
func (d *Mem) Open(name string) (File, error) { return d.open(name, true) }

// OpenRead implements FS.
func (d *Mem) OpenRead(name string) (File, error) { return d.open(name, false) }

func (d *Mem) open(name string, writable bool) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, node, err := d.find(name)
	switch {
	case err != nil:
	case node == nil:
		err = fs.ErrNotExist
	case node.file == nil:
		err = syscall.EISDIR
	default:
		return &memHandle{disk: d, file: node.file, name: name, writable: writable}, nil
	}
	return nil, pathError("open", name, err)
}

// Remove implements FS.
func (d *Mem) Remove(name string) error {
	if err := d.begin(Op{Kind: OpRemove, Name: name}); err != nil {
		return pathError("remove", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, base, node, err := d.find(name)
	switch {
	case err != nil:
	case node == nil:
		err = fs.ErrNotExist
	case node.dir != nil && len(node.dir.names) > 0:
		err = syscall.ENOTEMPTY
	default:
		parent.change(map[string]*memNode{base: nil})
	}
	return pathError("remove", name, err)
}

// Rename implements FS. Within one directory it is atomic across a power cut; between two it is not.
func (d *Mem) Rename(oldName, newName string) error {
	if err := d.begin(Op{Kind: OpRename, Name: oldName}); err != nil {
		return pathError("rename", oldName, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	from, oldBase, node, err := d.find(oldName)
	if err == nil && node == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return pathError("rename", oldName, err)
	}
	to, newBase, _, err := d.find(newName)
	if err != nil {
		return pathError("rename", newName, err)
	}
	if from == to {
		if oldBase != newBase {
			to.change(map[string]*memNode{newBase: node, oldBase: nil})
		}
		return nil
	}
	to.change(map[string]*memNode{newBase: node})
	from.change(map[string]*memNode{oldBase: nil})
	return nil
}

// MkdirAll implements FS.
func (d *Mem) MkdirAll(name string) error {
	if !fs.ValidPath(name) {
		return pathError("mkdir", name, fs.ErrInvalid)
	}
	if err := d.begin(Op{Kind: OpMkdir, Name: name}); err != nil {
		return pathError("mkdir", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, rest := d.root, name; rest != "."; {
		var head string
		head, rest = splitFirst(rest)
		node := at.names[head]
		if node == nil {
			node = &memNode{dir: newMemDir()}
			at.names[head], at.durable[head] = node, node
		}
		if node.dir == nil {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		at = node.dir
	}
	return nil
}

// List implements FS.
func (d *Mem) List(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return nil, pathError("list", name, ErrPowerOff)
	}
	dir, err := d.dir(name)
	if err != nil {
		return nil, pathError("list", name, err)
	}
	return sortedNames(dir.names), nil
}

func sortedNames(nodes map[string]*memNode) []string {
	names := make([]string, 0, len(nodes))
	for name := range nodes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// SyncDir implements FS.
func (d *Mem) SyncDir(name string) error {
	if err := d.begin(Op{Kind: OpSyncDir, Name: name}); err != nil {
		return pathError("sync", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := d.dir(name)
	if err != nil {
		return pathError("sync", name, err)
	}
	if !d.ignoreSync {
		dir.sync()
	}
	return nil
}

// Lock implements FS. A lock leaves no name behind; it ends with Close, PowerCut or Kill.
func (d *Mem) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, _, _, err := d.find(name); err != nil {
		return nil, pathError("lock", name, err)
	}
	if d.locks[name] {
		return nil, pathError("lock", name, ErrLocked)
	}
	d.locks[name] = true
	return &memLock{disk: d, name: name}, nil
}

type memLock struct {
	disk *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.disk.mu.Lock()
		defer l.disk.mu.Unlock()
		delete(l.disk.locks, l.name)
	})
	return nil
}
