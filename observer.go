package balsa

import "time"

// Observer is told what a host measures, as it happens: embed NoObserver and override what is of use. Its methods are
// called from the host's actors, those about one group one at a time, and must not block. What can be counted rather
// than observed is in Group.Counters.
type Observer interface {
	// LogWritten is told of each group commit, and of the one without entries when the log falls idle: of every sync.
	LogWritten(LogWritten)
	// BatchApplied is told of each batch that a state machine applied.
	BatchApplied(group GroupID, commands int, took time.Duration)
	// Flushed is told of each flush of a durable state machine.
	Flushed(group GroupID, took time.Duration)
	// LeadershipChanged is told what GroupConfig.OnLeadership is told.
	LeadershipChanged(group GroupID, now Leadership)
	// TroubleChanged is told when a trouble begins (stands) and when it is over. It may be called from anywhere, and must not call the
	// host.
	TroubleChanged(trouble Trouble, stands bool)
}

// LogWritten describes one group commit: one gathered write of the log and one sync, shared by all groups.
type LogWritten struct {
	Entries     int
	Bytes       int // of entries
	Write, Sync time.Duration
}

// NoObserver is the Observer that looks away.
type NoObserver struct{}

// LogWritten implements Observer.
func (NoObserver) LogWritten(LogWritten) {}

// BatchApplied implements Observer.
func (NoObserver) BatchApplied(GroupID, int, time.Duration) {}

// Flushed implements Observer.
func (NoObserver) Flushed(GroupID, time.Duration) {}

// LeadershipChanged implements Observer.
func (NoObserver) LeadershipChanged(GroupID, Leadership) {}

// TroubleChanged implements Observer.
func (NoObserver) TroubleChanged(Trouble, bool) {}
