package server

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// proposalError puts a proposal's failure into the API's words.
//
// The rule above all others (E47, E54): where the command may have been appended the answer is one of those that
// etcd's clients take for "unknown" and do not resend a write on: Unavailable with one of the "request timed out"
// texts. What was certainly not appended says so, each in its own words (E55).
//
//	unknown: the leader lost its office  Unavailable, … possibly due to previous leader failure
//	unknown: the connection broke        Unavailable, … possibly due to connection lost
//	unknown: time is up                  Unavailable, request timed out
//	unknown: closing, fenced, all else   Unavailable, … possibly due to previous leader failure
//	never appended: no leader            Unavailable, no leader
//	never appended: handing over         Unavailable, leader changed
//	never appended: too many, too large  ResourceExhausted, InvalidArgument
//	never appended: closing, fenced      Unavailable, server stopped
//	never appended: no state here        Unavailable, it is being rebuilt
//	never appended: the level            FailedPrecondition
//	the client's time is up              Unavailable, request timed out
//	the client went away                 Unavailable, … possibly due to connection lost
//
// The last two are no more than formally answers, but Canceled and DeadlineExceeded are errors that etcd's clients
// do resend writes on, so that they must not be heard by any means.
func proposalError(err error) error {
	switch {
	case errors.Is(err, balsa.ErrOutcomeUnknown), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unknownOutcome(err)
	}
	return refusal(err)
}

func unknownOutcome(err error) error {
	switch {
	case errors.Is(err, balsa.ErrConnectionBroke), errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCTimeoutDueToConnectionLost
	case errors.Is(err, balsa.ErrExpired), errors.Is(err, context.DeadlineExceeded):
		return rpctypes.ErrGRPCTimeout
	}
	return rpctypes.ErrGRPCTimeoutDueToLeaderFail
}

// refusal is for what certainly had no effect: refused proposals, and reads. Where a client went away while it
// waited for a read it is told Canceled or DeadlineExceeded.
func refusal(err error) error {
	var notLeader *raft.NotLeaderError
	switch {
	case errors.Is(err, balsa.ErrNoLeader):
		return rpctypes.ErrGRPCNoLeader
	case errors.Is(err, balsa.ErrLeaderChanged), errors.Is(err, balsa.ErrTransferring), errors.As(err, &notLeader):
		return rpctypes.ErrGRPCLeaderChanged
	case errors.Is(err, balsa.ErrOverloaded):
		return rpctypes.ErrGRPCRequestTooManyRequests
	case errors.Is(err, balsa.ErrTooLarge):
		return rpctypes.ErrGRPCRequestTooLarge
	case errors.Is(err, balsa.ErrExpired):
		return rpctypes.ErrGRPCTimeout
	case errors.Is(err, balsa.ErrClosed), errors.Is(err, balsa.ErrFenced):
		return rpctypes.ErrGRPCStopped
	case errors.Is(err, balsa.ErrStateLost), errors.Is(err, balsa.ErrStateDamaged):
		return errRebuilding
	}
	if errors.Is(err, balsa.ErrLevel) {
		return status.Error(codes.FailedPrecondition, "balsa: "+err.Error())
	}
	return apiError(err)
}

// apiError passes on what is in the API's words already, without what was wrapped around it, and names the client's
// own ending of its request.
func apiError(err error) error {
	if err == nil {
		return nil
	}
	var api interface{ GRPCStatus() *status.Status }
	switch {
	case errors.As(err, &api):
		return api.GRPCStatus().Err()
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return rpctypes.ErrGRPCDeadlineExceeded
	}
	return status.Error(codes.Unknown, err.Error())
}

// errRebuilding is the answer of a member whose state is of no use at the moment. Clients go on at another one.
var errRebuilding = status.Error(codes.Unavailable, "balsa: the state of this member is damaged and is being rebuilt from the others")

// again reports whether a request that certainly had no effect may do better in a moment, because the
// group is between two leaders.
func again(err error) bool {
	if errors.Is(err, balsa.ErrOutcomeUnknown) {
		return false
	}
	var notLeader *raft.NotLeaderError
	return errors.Is(err, balsa.ErrNoLeader) || errors.Is(err, balsa.ErrLeaderChanged) ||
		errors.Is(err, balsa.ErrTransferring) || errors.As(err, &notLeader)
}
