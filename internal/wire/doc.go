// Package wire is the bytes that members say to each other: the protocol's messages, and the proposals and
// results that members forward. docs/formats-wire.md has the layout.
//
//	runtime ── Encoder ──▶ parts of a frame ──▶ transport ──▶ one buffer ──▶ Decode ──▶ runtime
//
// A frame is one or more packets. Entries are never copied: on the way out each is a part of its frame, on the way
// in it is a piece of the frame's buffer, which therefore lives as long as any of its entries. Every entry that
// Decode returns has had its checksums verified, and what Decode accepts the Encoder writes back bit by bit.
package wire
