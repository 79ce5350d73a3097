package main

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/raft"
)

// statusPath is where a member tells how it is doing, for balsa status. It is our own, and may grow; fields keep their meaning.
const statusPath = "/balsa/v1/status"

// memberStatus is what is told there.
type memberStatus struct {
	Name      string           `json:"name"`
	Member    string           `json:"member_id"`
	Cluster   string           `json:"cluster_id"`
	Version   string           `json:"version"`
	Level     uint16           `json:"cluster_level"` // what all members are known to understand
	MaxLevel  uint16           `json:"max_level"`     // what this member speaks
	Role      string           `json:"role"`
	Term      uint64           `json:"term"`
	Leader    string           `json:"leader"`
	First     uint64           `json:"log_first"`
	Last      uint64           `json:"log_last"`
	Stable    uint64           `json:"log_durable"`
	Commit    uint64           `json:"commit"`
	Applied   uint64           `json:"applied"`
	Size      int64            `json:"db_size"`
	InUse     int64            `json:"db_size_in_use"`
	Revision  int64            `json:"revision"`
	Ready     bool             `json:"ready"`
	Fault     string           `json:"fault,omitempty"`
	Followers []peerStatus     `json:"followers,omitempty"`
	Troubles  []trouble        `json:"troubles,omitempty"`
	Snapshots []snapshotStatus `json:"snapshots,omitempty"`
	Now       time.Time        `json:"now"` // by the member's own clock
	// What why-no-leader asks for: the index of the configuration and who has a seat in it, the connections, the election timeout in
	// milliseconds, and how often this process has asked for pre-votes and campaigned.
	Configuration   uint64       `json:"configuration"`
	Seats           []seatStatus `json:"members"`
	Links           []linkStatus `json:"links,omitempty"`
	ElectionTimeout float64      `json:"election_timeout_ms"`
	PreVotes        uint64       `json:"pre_votes"`
	Campaigns       uint64       `json:"campaigns"`
	// Recovered is the record of the recovery from a lost majority that this cluster began with.
	Recovered *datadir.Recovery `json:"recovered,omitempty"`
}

// trouble is what an operator must see.
type trouble struct {
	Kind    string    `json:"kind"`
	Group   uint64    `json:"group,omitempty"` // none: the whole member
	Warning bool      `json:"warning,omitempty"`
	Text    string    `json:"text"`
	Remedy  string    `json:"remedy"`
	Since   time.Time `json:"since"`
}

// troubles are the host's, with times that people know.
func (m *member) troubles() (list []trouble) {
	now := time.Now()
	for _, t := range m.host.Troubles() {
		list = append(list, trouble{t.Kind, uint64(t.Group), t.Warning, t.Text, t.Remedy, now.Add(-t.For).UTC().Round(time.Second)})
	}
	return list
}

// peerStatus is a leader's view of one follower.
type peerStatus struct {
	Name      string `json:"name"`
	Member    string `json:"member_id"`
	Match     uint64 `json:"match"`
	Next      uint64 `json:"next"`
	State     string `json:"state"`
	Connected bool   `json:"connected"`
	MaxLevel  uint16 `json:"max_level"` // what it speaks; 0 where it was never in touch
}

// handlers are what this program serves over HTTP beside the server's own.
func (m *member) handlers() map[string]http.Handler {
	all := map[string]http.Handler{"GET " + statusPath: http.HandlerFunc(m.serveStatus)}
	if m.plan.settings.Bool("enable-pprof") {
		all["GET "+tracePath] = http.HandlerFunc(m.serveTrace)
		all["/debug/pprof/"] = http.HandlerFunc(pprof.Index)
		all["/debug/pprof/cmdline"] = http.HandlerFunc(pprof.Cmdline)
		all["/debug/pprof/profile"] = http.HandlerFunc(pprof.Profile)
		all["/debug/pprof/symbol"] = http.HandlerFunc(pprof.Symbol)
		all["/debug/pprof/trace"] = http.HandlerFunc(pprof.Trace)
	}
	return all
}

// tracePath is where a member shows what its flight recorder holds; like profiles it is for those who run with --enable-pprof.
const tracePath = "/debug/balsa/trace"

// recordedEvents is about a second of a busy member, or an hour of an idle one, in a megabyte.
const recordedEvents = 16 << 10

func (m *member) serveTrace(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	if err := m.group.WriteTrace(w, time.Now().UnixNano()); err != nil {
		m.logger.Warn("the trace could not be written", "error", err)
	}
}

func (m *member) serveStatus(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	s, err := m.group.Status(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	id := m.dir.Identity
	total, inUse := m.store.Size(), m.store.SizeInUse()
	answer := memberStatus{
		Name: id.Name, Member: hexID(uint64(id.Member)), Cluster: hexID(id.Cluster.ID), Version: balsaVersion,
		Level: uint16(m.group.Level()), MaxLevel: uint16(cmp.Or(m.maxLevel(), balsa.BuildLevel)),
		Role: roleName(s.Role), Term: uint64(s.Term), Leader: m.nameOf(s.Leader),
		First: uint64(s.First), Last: uint64(s.Last), Stable: uint64(s.Stable), Commit: uint64(s.Commit), Applied: uint64(s.Applied),
		Size: total, InUse: inUse, Revision: m.store.Revision(), Ready: s.Recovered, Troubles: m.troubles(), Snapshots: m.snapshots(),
		Now: time.Now(), Recovered: m.plan.recovered, PreVotes: s.Counts.PreCampaigns, Campaigns: s.Counts.Campaigns,
	}
	m.fillElection(&answer)
	if s.Fenced != nil {
		answer.Fault = s.Fenced.Error()
	}
	levels := m.group.Levels()
	for _, p := range s.Peers {
		answer.Followers = append(answer.Followers, peerStatus{
			Name: m.nameOf(p.ID), Member: hexID(uint64(p.ID)), Match: uint64(p.Match), Next: uint64(p.Next),
			State: p.State.String(), Connected: p.Connected, MaxLevel: uint16(levels[p.ID]),
		})
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) // a client that is gone does not wait for the error
}

func roleName(role raft.Role) string {
	switch role {
	case raft.Leader:
		return "leader"
	case raft.Candidate, raft.PreCandidate:
		return "candidate"
	}
	return "follower"
}
