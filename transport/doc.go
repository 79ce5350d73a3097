// Package transport moves frames of bytes between hosts and knows nothing of what they mean.
//
//	        Send                                                        Received
//	runtime ────▶ queue of a peer ──▶ sender ══ one connection ══▶ reader ────▶ runtime
//	              (bounded)           (writev)    per direction    (exact-size buffers)
//
// Between two hosts there is one ordered stream per direction for messages, and another, while it is used, for
// bulk, so that a snapshot never delays a heartbeat. Within one connection frames arrive in the order they were sent, each once and whole; a connection
// that breaks loses a suffix of what was sent, and for messages both sides are told. Who sends decides whether to send again:
// nothing is ever resent here (E54).
//
// TCP is the real thing: each host dials every other one at its advertised URLs, proves who it is, and writes; what it
// reads comes in over the connections that the others dialled. Memory is its twin within one process. Both keep the
// contract of Transport and Receiver, and one test of conformance says so.
package transport
