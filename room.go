package balsa

import (
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/balsadb/balsa/internal/actor"
	"github.com/balsadb/balsa/vfs"
)

// Room keeps space on a disk for the time when it is full: a file of some size that holds nothing, and is given up once somebody finds no
// space. With that the log takes what clears up (an alarm, deletions, compactions), and the state is flushed. The file is made again as
// soon as there is space for all of it; until then the disk counts as full. All methods may be called concurrently.
type Room struct {
	fs    vfs.FS
	name  string
	bytes int64

	mu    sync.Mutex
	held  bool // the file is there
	full  bool
	alert func() // is told that the disk is full
}

// NewRoom returns a room that is kept as a file of so many bytes in the root of fs. With 0 no space is kept, and a full disk counts as full until
// the log was written again.
func NewRoom(fs vfs.FS, name string, bytes int64) *Room {
	return &Room{fs: fs, name: name, bytes: bytes}
}

// Take makes the file where it is not there, as at a start. Where there is no space for it the disk counts as full, which is no error.
func (r *Room) Take() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.take()
	if errors.Is(err, vfs.ErrNoSpace) {
		r.full, err = true, nil
	}
	return err
}

func (r *Room) take() error {
	if r.bytes == 0 || r.held {
		return nil
	}
	file, err := r.fs.Create(r.name)
	if errors.Is(err, fs.ErrExist) { // of the last life; it may be of another size, or not whole
		if err = r.fs.Remove(r.name); err == nil {
			file, err = r.fs.Create(r.name)
		}
	}
	if err != nil {
		return err
	}
	if err = errors.Join(file.Preallocate(r.bytes), file.Close()); err != nil {
		return errors.Join(err, r.fs.Remove(r.name))
	}
	r.held = true
	return nil
}

// RanOut is told by who finds no space. It reports whether there may be some now.
func (r *Room) RanOut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	released := r.held && r.fs.Remove(r.name) == nil
	r.held = r.held && !released
	if !r.full {
		r.full = true
		if r.alert != nil {
			r.alert()
		}
	}
	return released
}

// Regain makes the file again, where the disk is full, and reports whether it is full no longer.
func (r *Room) Regain() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full && r.take() == nil {
		r.full = false
	}
	return !r.full
}

// Full reports whether the disk is full: space was sought in vain, and the file could not be made since.
func (r *Room) Full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full
}

// DiskFull reports whether the host's disk is full. While it is the host goes on with what space it had kept, and should lead nothing where another
// member has room.
func (h *Host) DiskFull() bool { return h.config.Room.Full() }

// roomKeeper tells of a full disk, and looks whether there is space again. It is an actor.
type roomKeeper struct {
	host  *Host
	inbox actor.Mailbox[struct{}]
	task  actor.Task
	told  bool
	retry actor.Instant
}

// watchRoom has the keeper told when the disk is full, and tells it where it is already.
func (h *Host) watchRoom() {
	r := h.config.Room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alert = func() { h.keeper.inbox.Post(struct{}{}) }
	if r.full {
		r.alert()
	}
}

// regainInterval is how long a full disk is left before its room is sought again.
const regainInterval = time.Second

func (k *roomKeeper) turn(now actor.Instant) actor.Instant {
	k.inbox.Take()
	room := k.host.config.Room
	switch {
	case !room.Full():
		return actor.Never
	case !k.told:
		k.told, k.retry = true, now.Add(regainInterval)
		k.host.tell(Trouble{
			Kind: TroubleDiskFull, Text: "the disk is full: what was kept for this is in use, and nothing is written once that is gone",
			Remedy: "make room on it: writing goes on by itself",
		}, slog.Int64("kept", room.bytes))
	case now >= k.retry && k.host.writesAgain() && room.Regain():
		k.told = false
		k.host.ClearTrouble(TroubleDiskFull, 0)
		return actor.Never
	case now >= k.retry:
		k.retry = now.Add(regainInterval)
	}
	return k.retry
}

// writesAgain reports whether the log waits for nothing.
func (h *Host) writesAgain() bool { return !h.writer.waits.Load() && !h.log.NeedsPrepare() }
