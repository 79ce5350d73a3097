package engine

import "errors"

// ErrUncertain is wrapped by an error of Home.Commit after which nobody knows which engine a restart will find: the
// disk failed in the very step that decides. Nothing may be written to either engine any more, or a restart could
// find the one without it.
var ErrUncertain = errors.New("engine: it is not known which state a restart will find")

// Home is where one state's engine lives, and where its successor is made beside it. Whatever happens, a restart
// finds one of them, whole. Methods have one caller at a time; the engines may be in use meanwhile.
type Home interface {
	// Open returns the current engine, which is new and empty the first time. It is called once. An error that wraps ErrDamaged says that
	// the current engine is of no use; another one can be made with Begin all the same.
	Open() (Engine, error)
	// Condemn says that the current engine is of no use, durably: every later Open says so with an error that wraps ErrDamaged and
	// has the reason, until another engine was committed. The engine itself stays as it is, also where it is open.
	Condemn(reason string) error
	// Begin returns a new and empty engine, which nobody finds before Commit. There is one at a time.
	Begin() (Engine, error)
	// Commit flushes the engine that Begin returned, and makes it the current one in one step that a power cut does not
	// divide. The former one remains readable until it is closed, which is its user's to do; what it stored is removed
	// then. After an error the former one is still current, and next is to be aborted; see ErrUncertain for the exception.
	Commit(next Engine) error
	// Abort closes the engine that Begin returned, and removes what it stored.
	Abort(next Engine) error
	// Close closes every engine of this home that is open, once every reader is closed.
	Close() error
}
