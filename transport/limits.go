package transport

import "github.com/balsadb/balsa/raft"

// Limits bound what a transport holds. Zero fields take the defaults.
type Limits struct {
	// FrameBytes is the largest frame: what is larger is dropped by the sender and ends the connection at the
	// receiver. All members need the same. The default leaves room for one entry of the largest size.
	FrameBytes int
	// QueueBytes and QueueFrames bound what waits for one peer, what is being written included. A frame that
	// finds the queue empty is taken whatever its size. Raise them where peers are far away and links fast.
	QueueBytes  int
	QueueFrames int
	// BulkQueueBytes takes the place of QueueBytes on the bulk lane.
	BulkQueueBytes int
}

const (
	defaultFrameBytes  = raft.MaxPayload + 1<<20
	defaultQueueBytes  = 32 << 20
	defaultQueueFrames = 8192
	defaultBulkBytes   = 8 << 20
)

func (l Limits) orDefaults() Limits {
	if l.FrameBytes <= 0 {
		l.FrameBytes = defaultFrameBytes
	}
	if l.QueueBytes <= 0 {
		l.QueueBytes = defaultQueueBytes
	}
	if l.QueueFrames <= 0 {
		l.QueueFrames = defaultQueueFrames
	}
	if l.BulkQueueBytes <= 0 {
		l.BulkQueueBytes = defaultBulkBytes
	}
	return l
}

// of returns the limits of a lane.
func (l Limits) of(lane streamKind) Limits {
	if lane == streamBulk {
		l.QueueBytes = l.BulkQueueBytes
	}
	return l
}

// load is how much waits in a queue.
type load struct {
	frames int
	bytes  int
}

// admits reports whether a queue that holds l may take one more frame.
func (limits *Limits) admits(l load, size int) bool {
	if size > limits.FrameBytes {
		return false
	}
	return l.frames == 0 || (l.frames < limits.QueueFrames && l.bytes+size <= limits.QueueBytes)
}

func (l *load) add(size int) { l.frames++; l.bytes += size }

func (l *load) remove(other load) { l.frames -= other.frames; l.bytes -= other.bytes }

func sizeOf(parts [][]byte) int {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	return size
}
