package transport

import "github.com/balsadb/balsa/raft"

// Transport sends frames to peers. All methods may be called concurrently.
type Transport interface {
	// Send queues one frame, given as parts that are written one after the other without being copied;
	// the transport may read them until the frame is sent, so nobody may write to them any more. It never
	// blocks. It reports false, and drops the frame, where there is no connection or the peer's queue is full.
	Send(to raft.MemberID, parts [][]byte) bool
	// SendBulk is Send on a lane of its own, ordered within itself, so that what is sent there never delays frames of Send.
	// That it took a frame promises less: the lane connects when it is used and rests when it is not, and a frame
	// may be lost where that fails or its connection breaks, of which nobody is told. The caller awaits an answer.
	SendBulk(to raft.MemberID, parts [][]byte) bool
	// SetReceiver says who is told of what arrives. It is called once, before anything is sent.
	SetReceiver(Receiver)
	// Close ends all connections and waits until no call of the Receiver is running.
	Close() error
}

// Receiver is told what happens. Its methods must not block; those about one peer are called in order, but for
// ReceivedBulk, which is ordered within itself and may be called while another one runs.
//
// A receiver may have two more: Progress() Progress, which peers remember so that they notice an older copy of its disk, and
// Disowned(peer, reason, text), which is told where a peer does not take this host for the member that it says to be.
type Receiver interface {
	// Received hands over a frame. The buffer belongs to the receiver; nothing else refers to it.
	Received(from raft.MemberID, frame []byte)
	// ReceivedBulk hands over a frame of SendBulk, as Received does. It is no sign of the peer's connection: a frame may come
	// before Connected and after Broken.
	ReceivedBulk(from raft.MemberID, frame []byte)
	// Connected says that frames can be sent to the peer now.
	Connected(peer raft.MemberID)
	// Broken says that a connection with the peer ended, in either direction: what was sent last in that direction may
	// be lost. Nothing can be sent until Connected, which follows at once where the connection to the peer lives on.
	// Refused is set where an immediate redial was refused by the peer's host while the peer held no connection with
	// us either: nobody listens there, so its process is gone (and not merely slow).
	Broken(peer raft.MemberID, refused bool)
}
