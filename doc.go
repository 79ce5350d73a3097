// Package balsa embeds replicated state machines: a Host owns a disk, a network and the actors that
// drive them; a Group is one state machine on it, kept equal on every member by the Raft protocol.
package balsa
