package transport

import "fmt"

// Reason says why a handshake was refused.
type Reason uint16

const (
	accepted Reason = 0
	// ReasonVersion: the two builds have no protocol version in common.
	ReasonVersion Reason = 1
	// ReasonFeatures: one requires a feature that the other does not have.
	ReasonFeatures Reason = 2
	// ReasonCluster: the two belong to different clusters.
	ReasonCluster Reason = 3
	// ReasonWrongMember: somebody else is at that address.
	ReasonWrongMember Reason = 4
	// ReasonSameMember: both say that they are the same member.
	ReasonSameMember Reason = 5
	// ReasonUnknownMember: the dialler is not a member, as far as the other knows.
	ReasonUnknownMember Reason = 6
	// ReasonEarlierLife: the member has joined again since.
	ReasonEarlierLife Reason = 7
	// ReasonDataDir: the member had another data directory before, in the same life.
	ReasonDataDir Reason = 8
	// ReasonStream: the kind of stream is not known.
	ReasonStream Reason = 9
	// ReasonRemoved: the dialler was a member, and was removed for ever.
	ReasonRemoved Reason = 10
	// ReasonStale: the member had promised more than its data directory now knows of: that is an older copy.
	ReasonStale Reason = 11
	// ReasonTwice: another process is this member, with this data directory or a copy of it.
	ReasonTwice Reason = 12
	// ReasonRecovered: the dialler's cluster lost its majority, and this one was made from what was left of it.
	ReasonRecovered Reason = 13
)

var reasonNames = [...]string{
	accepted: "accepted", ReasonVersion: "version", ReasonFeatures: "features", ReasonCluster: "cluster",
	ReasonWrongMember: "wrong member", ReasonSameMember: "same member", ReasonUnknownMember: "unknown member",
	ReasonEarlierLife: "earlier life", ReasonDataDir: "data directory", ReasonStream: "stream",
	ReasonRemoved: "removed", ReasonStale: "stale data directory", ReasonTwice: "started twice", ReasonRecovered: "recovered without it",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint16(r))
}

// RefusedError says that two hosts do not want to talk to each other, and why.
type RefusedError struct {
	Reason Reason
	// Text is the reason in words, as the one who refused sees it.
	Text string
	// ByPeer is set where the peer refused; otherwise it was this host.
	ByPeer bool
}

func (e *RefusedError) Error() string {
	if e.ByPeer {
		return "refused by the peer: " + e.Text
	}
	return "refused: " + e.Text
}

func refuse(reason Reason, format string, args ...any) *RefusedError {
	return &RefusedError{Reason: reason, Text: fmt.Sprintf(format, args...)}
}
