package balsa

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/balsadb/balsa/raft"
)

// What a start makes of a state that is of no use, in this order:
//
//	a snapshot on this disk reaches the log   restored, and the log applied behind it
//	the log is whole                          the state begins empty, and all of the log is applied
//	neither                                   this member starts without a state and asks its leader for one

// unusable says why a state cannot be started from; nil where it can.
func (h *Host) unusable(machine Rebuilder, before Position) error {
	cause := machine.Lost()
	if cause != nil {
		return cause
	}
	applied, err := machine.Applied()
	if err == nil {
		_, err = machine.Durable()
	}
	if keeper, ok := machine.(RuntimeKeeper); ok && err == nil {
		if _, err = keeper.Runtime(); err != nil && !errors.Is(err, ErrStateDamaged) {
			err = nil // it says nothing about what is stored: who needs it meets it again, and says so
		}
	}
	if err == nil && applied.Index < before.Index {
		err = fmt.Errorf("the log begins after index %d, and the state has applied no more than index %d", before.Index, applied.Index)
	} else if err == nil {
		return nil
	}
	if losing := machine.Lose(err); losing != nil {
		return fmt.Errorf("%w; and it could not be given up: %w", err, losing)
	}
	return err
}

// rebuild gives a state machine the best state that this disk has, and says in restored where the protocol starts.
func (h *Host) rebuild(config GroupConfig, machine Rebuilder, cause error, restored *raft.Restored) (durable Position, err error) {
	log := h.config.Logger.With(groupAttr(config.ID), slog.String("reason", cause.Error()))
	at, covered, err := h.snapshots.recoverFrom(config.ID, machine, restored.Before.Index)
	switch {
	case err != nil:
		return durable, fmt.Errorf("group %d: %w", config.ID, err)
	case at.Index > 0:
		log.Error("the state of this member is of no use; it is rebuilt from a snapshot on this disk and the log", slog.Uint64("index", uint64(at.Index)))
		restored.Applied, restored.Configuration, durable = at, covered, at
	case restored.Before.Index == 0:
		log.Error("the state of this member is of no use; it is rebuilt from the log, which is whole")
		err = machine.Reset()
	default:
		log.Error("the state of this member is of no use; it starts without one and asks its leader")
		restored.StateLost = true
	}
	if err != nil {
		return durable, fmt.Errorf("group %d: rebuilding its state: %w", config.ID, err)
	}
	return durable, nil
}
