package main

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/balsadb/balsa"
)

// snapshotStatus is what a member does with a snapshot.
type snapshotStatus struct {
	Stage   balsa.SnapshotStage `json:"stage"`
	Peer    string              `json:"peer,omitempty"` // who it is sent to, or comes from: its name, or its id where that is not known
	Via     string              `json:"via,omitempty"`  // who sends it in the leader's place
	Index   uint64              `json:"index,omitempty"`
	Done    int64               `json:"done_bytes"`
	Total   int64               `json:"total_bytes,omitempty"`   // none while it is not known
	Resumed int64               `json:"resumed_bytes,omitempty"` // of those done, what was there from an earlier attempt
	Rate    float64             `json:"bytes_per_second"`
	Elapsed float64             `json:"elapsed_s"`
}

func (m *member) snapshots() (list []snapshotStatus) {
	for _, p := range m.group.Snapshots() {
		list = append(list, snapshotStatus{
			Stage: p.Stage, Peer: m.called(p.Peer), Via: m.called(p.Via), Index: uint64(p.Position.Index), Done: p.Done, Total: p.Total,
			Resumed: p.Resumed, Rate: math.Round(p.Rate()), Elapsed: math.Round(p.Elapsed.Seconds()*10) / 10,
		})
	}
	return list
}

// called returns a member's name, or its id where that is not known.
func (m *member) called(id balsa.MemberID) string {
	if id == 0 {
		return ""
	}
	if name := m.nameOf(id); name != "" {
		return name
	}
	return hexID(uint64(id))
}

// writeSnapshots writes a line for each snapshot that a member makes, sends, receives or restores.
func writeSnapshots(out io.Writer, s *memberStatus) {
	if s == nil {
		return
	}
	for i := range s.Snapshots {
		fmt.Fprintf(out, "%s: %s\n", s.Name, &s.Snapshots[i])
	}
}

// String says it in a line: "sending a snapshot to n3: 512.0 MiB of 2.0 GiB, 25%, 64.0 MiB/s, 24s left".
func (p *snapshotStatus) String() string {
	text := map[balsa.SnapshotStage]string{
		balsa.SnapshotMaking: "making a snapshot", balsa.SnapshotSending: "sending a snapshot to " + p.Peer,
		balsa.SnapshotDelegated: "having " + p.Via + " send a snapshot to " + p.Peer,
		balsa.SnapshotReceiving: "receiving a snapshot from " + p.Peer, balsa.SnapshotRestoring: "restoring a snapshot",
	}[p.Stage]
	text += ": " + bytesText(p.Done)
	if p.Total > 0 {
		text += fmt.Sprintf(" of %s, %d%%", bytesText(p.Total), p.Done*100/p.Total)
	}
	text += fmt.Sprintf(", %s/s", bytesText(int64(p.Rate)))
	if p.Total > p.Done && p.Rate >= 1 {
		text += fmt.Sprintf(", %v left", (time.Duration(float64(p.Total-p.Done)/p.Rate) * time.Second).Round(time.Second))
	}
	if p.Resumed > 0 {
		text += fmt.Sprintf(" (%s of it were there before)", bytesText(p.Resumed))
	}
	return text
}
