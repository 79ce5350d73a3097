package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/balsadb/balsa/raft"
)

// placed returns an entry as a leader would have placed it in its log.
func placed(group raft.GroupID, index raft.Index, term raft.Term, payload string) raft.Entry {
	e := raft.SealedEntry(raft.EntryNormal, []byte(payload))
	binary.LittleEndian.PutUint64(e[32:], uint64(group))
	binary.LittleEndian.PutUint64(e[40:], uint64(index))
	binary.LittleEndian.PutUint64(e[48:], uint64(term))
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(e[28:], crc32.Update(crc32.Checksum(e[24:28], table), table, e[32:raft.EntryHeaderSize]))
	return e
}

func join(parts [][]byte) []byte { return bytes.Join(parts, nil) }

// encode writes packets into one frame.
func encode(e *Encoder, packets ...Packet) [][]byte {
	for _, p := range packets {
		add(e, p)
	}
	return e.Frame()
}

func add(e *Encoder, p Packet) {
	switch {
	case p.Proposals != nil:
		e.Proposals(*p.Proposals)
	case p.Results != nil:
		e.Results(*p.Results)
	case p.Chunk != nil:
		e.SnapshotChunk(*p.Chunk)
	case p.Report != nil:
		e.SnapshotReport(*p.Report)
	case p.Order != nil:
		e.SnapshotOrder(*p.Order)
	case p.News != nil:
		e.SnapshotNews(*p.News)
	case p.Loss != nil:
		e.LossRequest(*p.Loss)
	case p.Found != nil:
		e.LossAnswer(*p.Found)
	case p.Request != nil:
		e.StateRequest(*p.Request)
	case p.Digests != nil:
		e.StateDigests(*p.Digests)
	default:
		e.Message(p.Envelope)
	}
}

func message(m raft.Message) Packet {
	return Packet{Envelope: raft.Envelope{Group: 7, From: 1, To: 2, FromLife: 3, ToLife: 4, Message: m}}
}

// samples has one packet of every kind, no two fields of which are equal.
func samples() []Packet {
	offer := raft.SnapshotOffer{From: 1, FromLife: 3, ToLife: 4, Term: 21, At: raft.Position{Index: 12, Term: 13}}
	return []Packet{
		message(&raft.PreVoteRequest{Term: 11, NextTerm: 12, Last: raft.Position{Index: 13, Term: 14}}),
		message(&raft.PreVoteResponse{Term: 11, NextTerm: 12, Granted: true}),
		message(&raft.RequestVote{Term: 11, Last: raft.Position{Index: 12, Term: 13}, Transfer: true}),
		message(&raft.VoteResponse{Term: 11, Granted: true}),
		message(&raft.AppendEntries{Term: 21, Prev: raft.Position{Index: 12, Term: 13}, Commit: 14, Round: 15}),
		message(&raft.AppendEntries{Term: 21, Prev: raft.Position{Index: 12, Term: 13}, Commit: 14, Round: 15, Entries: []raft.Entry{
			placed(7, 13, 13, "first"), placed(7, 14, 20, ""), placed(7, 15, 21, strings.Repeat("long", 5000)),
		}}),
		message(&raft.AppendResponse{Term: 11, Round: 12, Match: 13, Rejected: true, Prev: 14,
			Conflict: raft.Position{Index: 15, Term: 16}, Last: 17}),
		message(&raft.TimeoutNow{Term: 11}),
		message(&raft.ReadIndexRequest{Term: 11, ID: 12}),
		message(&raft.ReadIndexResponse{Term: 11, ID: 12, Index: 13}),
		{Proposals: &ForwardProposals{Group: 7, From: 3, Items: []Proposal{
			{ID: 1, Remaining: time.Second, Entry: raft.SealedEntry(raft.EntryNormal, []byte("put"))},
			{ID: 2, Remaining: NoDeadline, Entry: raft.SealedEntry(raft.EntrySession, nil)},
		}}},
		{Results: &ForwardResults{Group: 7, Items: []Result{
			{ID: 1, Index: 2, Term: 3, Code: CodeApplied, Value: []byte("value")},
			{ID: 4, Code: CodeOverloaded, Text: "4 MiB are not committed yet, the limit is 4 MiB"},
			{ID: 5, Index: 6, Term: 7, Code: CodeApplied, Value: bytes.Repeat([]byte("large"), 1000)},
		}}},
		{Chunk: &SnapshotChunk{Group: 7, To: 2, Offer: offer, Source: SnapshotSource{Sender: 1}, Size: 1000, Offset: 14, Data: []byte("a piece")}},
		{Report: &SnapshotReport{Group: 7, From: 2, Offer: offer, Source: SnapshotSource{Sender: 1}, Outcome: SnapshotInstalled, Received: 14}},
		{Chunk: &SnapshotChunk{Group: 7, To: 2, Offer: offer, Source: SnapshotSource{5, 6}, Size: 1000, Offset: 14, Data: []byte("a piece")}},
		{Report: &SnapshotReport{Group: 7, From: 2, Offer: offer, Source: SnapshotSource{5, 6}, Outcome: SnapshotInstalled, Received: 14}},
		{Order: &SnapshotOrder{Group: 7, From: 2, Need: raft.SnapshotNeed{To: 8, FromLife: 3, ToLife: 4, Term: 21, AtLeast: 9},
			Prefer: raft.Position{Index: 12, Term: 13}, Identity: 14, Stop: true}},
		{News: &SnapshotNews{Group: 7, From: 2, Term: 21, To: 8, ToLife: 4, What: SnapshotHeld, At: raft.Position{Index: 12, Term: 13},
			Source: SnapshotSource{5, 6}, Size: 1000, Received: 14}},
		{Loss: &LossRequest{Group: 7, From: 2, To: 3, Nonce: 4, Term: 5, Last: 6, Doubt: true, Lost: []LostRun{{8, 9, 1}}}},
		{Found: &LossAnswer{Group: 7, From: 2, To: 3, Nonce: 4, Term: 5, Last: 6, Leading: true, Gone: true,
			Entries: []raft.Entry{placed(7, 13, 13, "lost"), placed(7, 15, 20, "")}}},
		{Request: &StateRequest{Group: 7, From: 2, To: 3, FromLife: 4, Term: 5, AtLeast: 6}},
		{Digests: &StateDigests{Group: 7, From: 2, At: []StateDigest{
			{Position: raft.Position{Index: 3, Term: 4}, Digest: [16]byte{5, 6}}, {Position: raft.Position{Index: 8, Term: 9}, Digest: [16]byte{10}},
		}}},
	}
}

func TestEveryKindComesBackAsItWas(t *testing.T) {
	for _, want := range samples() {
		frame := join(encode(new(Encoder), want))
		got, err := Decode(nil, frame)
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// TestEveryByteCounts: whichever byte of a frame is changed, it is either refused or says something else; but for the compatible flags.
func TestEveryByteCounts(t *testing.T) {
	for _, packet := range samples() {
		frame := join(encode(new(Encoder), packet))
		for at := range frame {
			changed := bytes.Clone(frame)
			changed[at] ^= 1
			packets, err := Decode(nil, changed)
			if err == nil && at != 2 && reflect.DeepEqual(packets, []Packet{packet}) {
				t.Errorf("byte %d of %+v means nothing", at, packet)
			}
		}
	}
}

func TestManyPacketsShareAFrame(t *testing.T) {
	var e Encoder
	want := samples()
	for range 50 { // beyond one arena
		want = append(want, samples()...)
	}
	parts := encode(&e, want...)
	first := join(parts)
	got, err := Decode(nil, first)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatal("the packets are not those that were encoded")
	}
	encode(&e, samples()...)
	if !bytes.Equal(join(parts), first) {
		t.Error("a frame that was handed out changed while the next one was built")
	}
	if e.Size() != 0 || e.Frame() != nil {
		t.Error("a frame was handed out twice")
	}
}

func TestSizeIsTheFramesLength(t *testing.T) {
	var e Encoder
	for _, p := range samples() {
		add(&e, p)
	}
	size := e.Size()
	if got := len(join(e.Frame())); got != size {
		t.Errorf("Size %d, the frame has %d bytes", size, got)
	}
}

func aliases(inner, outer []byte) bool {
	a, b := uintptr(unsafe.Pointer(unsafe.SliceData(inner))), uintptr(unsafe.Pointer(unsafe.SliceData(outer)))
	return a >= b && a+uintptr(len(inner)) <= b+uintptr(len(outer))
}

func TestEntriesAreNeverCopied(t *testing.T) {
	entry, proposal := placed(7, 1, 1, "entry"), raft.SealedEntry(raft.EntryNormal, []byte("proposal"))
	parts := encode(new(Encoder),
		message(&raft.AppendEntries{Term: 1, Entries: []raft.Entry{entry}}),
		Packet{Proposals: &ForwardProposals{Group: 7, From: 1, Items: []Proposal{{ID: 1, Entry: proposal}}}})
	found := 0
	for _, part := range parts {
		if aliases(entry, part) || aliases(proposal, part) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 entries are parts of the frame, the rest was copied", found)
	}
	frame := join(parts)
	packets, err := Decode(nil, frame)
	if err != nil {
		t.Fatal(err)
	}
	if !aliases(packets[0].Envelope.Message.(*raft.AppendEntries).Entries[0], frame) || !aliases(packets[1].Proposals.Items[0].Entry, frame) {
		t.Error("a decoded entry does not alias the receive buffer")
	}
}

func TestThousandsOfEntriesAreDecodedWithOneSlice(t *testing.T) {
	entries := make([]raft.Entry, 5000)
	for i := range entries {
		entries[i] = placed(7, raft.Index(i+1), 1, "payload")
	}
	frame := join(encode(new(Encoder), message(&raft.AppendEntries{Term: 1, Entries: entries})))
	packets := make([]Packet, 0, 1)
	allocations := testing.AllocsPerRun(10, func() {
		if _, err := Decode(packets, frame); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 3 { // the message, the slice, and the reader
		t.Errorf("%v allocations", allocations)
	}
}

func TestWhatCannotBeWrittenIsCutToFit(t *testing.T) {
	frame := join(encode(new(Encoder),
		Packet{Results: &ForwardResults{Items: []Result{{Text: strings.Repeat("x", MaxText+1), Value: []byte("v")}}}},
		Packet{Proposals: &ForwardProposals{Items: []Proposal{{Remaining: -5, Entry: raft.SealedEntry(raft.EntryNormal, nil)}}}}))
	packets, err := Decode(nil, frame)
	if err != nil {
		t.Fatal(err)
	}
	if got := packets[0].Results.Items[0]; len(got.Text) != MaxText || string(got.Value) != "v" {
		t.Errorf("text of %d bytes and value %q", len(got.Text), got.Value)
	}
	if got := packets[1].Proposals.Items[0].Remaining; got != 0 {
		t.Errorf("remaining %v, a deadline in the past is 0", got)
	}
}

// TestBadFramesAreRefusedWithAReason has one row for each way in which bytes can fail to be a frame.
func TestBadFramesAreRefusedWithAReason(t *testing.T) {
	entry := func(index raft.Index, term raft.Term) raft.Entry { return placed(7, index, term, "payload") }
	appending := func(entries ...raft.Entry) []byte {
		return join(encode(new(Encoder), message(&raft.AppendEntries{Term: 5, Prev: raft.Position{Index: 3, Term: 4}, Entries: entries})))
	}
	vote := func() []byte { return join(encode(new(Encoder), message(&raft.VoteResponse{Term: 1}))) }
	proposals := func() []byte {
		return join(encode(new(Encoder), Packet{Proposals: &ForwardProposals{Items: []Proposal{{Entry: raft.SealedEntry(raft.EntryNormal, []byte("p"))}}}}))
	}
	results := func() []byte {
		return join(encode(new(Encoder), Packet{Results: &ForwardResults{Items: []Result{{Text: "t", Value: []byte("v")}}}}))
	}
	set := func(frame []byte, at int, v byte) []byte { frame[at] = v; return frame }
	longer := func(frame []byte) []byte { frame = append(frame, 0); frame[4]++; return frame }
	const body = packetHeader + envelopeHeader

	for _, row := range []struct {
		name, reason string
		frame        []byte
	}{
		{"empty", "it is empty", nil},
		{"half a header", "a packet's header has 8", vote()[:5]},
		{"version of the future", "version 2, this build reads 1", set(vote(), 0, 2)},
		{"unknown incompatible flag", "incompatible flags 0x04", set(vote(), 3, 4)},
		{"longer than the frame", "a packet of 50 bytes, 49 are left", set(vote(), 4, 50)},
		{"second packet cut off", "at byte 57", append(vote(), 1, 2, 3)},
		{"kind 0", "not known", set(vote(), 1, 0)},
		{"kind of an append without one", "an append has at least", set(vote(), 1, byte(kindAppendEntries))},
		{"unknown kind", "kind 10", set(vote(), 1, 10)},
		{"kind of another size", "this kind has 8", set(vote(), 1, byte(kindTimeoutNow))},
		{"without addresses", "the addresses alone have 40", []byte{1, 4, 0, 0, 1, 0, 0, 0, 0}},
		{"flag of 2", "neither 0 nor 1", set(vote(), len(vote())-1, 2)},
		{"more entries than bytes", "65281 items", set(appending(entry(4, 5)), body+41, 255)},
		{"fewer entries than bytes", "follow the last entry", set(appending(entry(4, 5), entry(5, 5)), body+40, 1)},
		{"entry with a flipped bit in its payload", "body checksum", set(appending(entry(4, 5)), body+44+raft.EntryHeaderSize, 'P')},
		{"entry with a flipped bit in its place", "head checksum", set(appending(entry(4, 5)), body+44+40, 6)},
		{"entry of another group", "belongs to group 8", appending(placed(8, 4, 5, ""))},
		{"gap after the previous entry", "cannot follow", appending(entry(5, 5))},
		{"gap between entries", "entry 2 of 2", appending(entry(4, 5), entry(6, 5))},
		{"entry of a later term than the message", "cannot follow", appending(entry(4, 6))},
		{"entry of an earlier term than the previous", "cannot follow", appending(entry(4, 3))},
		{"proposals too short", "at least 20", []byte{1, 16, 0, 0, 0, 0, 0, 0}},
		{"more proposals than bytes", "257 items", set(proposals(), packetHeader+17, 1)},
		{"proposal with a flipped bit", "body checksum", set(proposals(), len(proposals())-1, 'q')},
		{"remaining time below zero", "remaining time", set(proposals(), packetHeader+20+15, 0x80)},
		{"bytes after the last proposal", "follow the last proposal", longer(proposals())},
		{"results too short", "at least 12", []byte{1, 17, 0, 0, 0, 0, 0, 0}},
		{"more results than bytes", "257 items", set(results(), packetHeader+9, 1)},
		{"value longer than the packet", "result 1 of 1", set(results(), packetHeader+12+28, 9)},
		{"bytes after the last result", "follow the last result", longer(results())},
	} {
		t.Run(row.name, func(t *testing.T) {
			kept := []Packet{{}}
			packets, err := Decode(kept, row.frame)
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), row.reason) {
				t.Errorf("error %v, want one that says %q", err, row.reason)
			}
			if len(packets) != 1 {
				t.Errorf("%d packets of a bad frame were handed out", len(packets)-1)
			}
		})
	}
}

func TestCompatibleFlagsAreIgnored(t *testing.T) {
	frame := join(encode(new(Encoder), message(&raft.VoteResponse{Term: 1})))
	frame[2] = 0xff
	if _, err := Decode(nil, frame); err != nil {
		t.Error(err)
	}
}

// FuzzDecode: no input panics, and what decodes is what the Encoder would have written.
func FuzzDecode(f *testing.F) {
	for _, p := range samples() {
		f.Add(join(encode(new(Encoder), p)))
	}
	f.Add(join(encode(new(Encoder), samples()...)))
	f.Fuzz(func(t *testing.T, frame []byte) {
		packets, err := Decode(nil, frame)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			return
		}
		want := bytes.Clone(frame)
		for at := 0; at < len(want); at += packetHeader + int(binary.LittleEndian.Uint32(want[at+4:])) {
			want[at+2] = 0 // compatible flags, which a reader ignores
		}
		if got := join(encode(new(Encoder), packets...)); !bytes.Equal(got, want) {
			t.Fatalf("decoded and encoded again:\n%x\nwas\n%x", got, want)
		}
	})
}

func BenchmarkEncodeAppend(b *testing.B) {
	entries := make([]raft.Entry, 100)
	for i := range entries {
		entries[i] = placed(7, raft.Index(i+1), 1, strings.Repeat("x", 256))
	}
	p := message(&raft.AppendEntries{Term: 1, Entries: entries})
	var e Encoder
	b.ReportAllocs()
	for b.Loop() {
		e.Message(p.Envelope)
		b.SetBytes(int64(e.Size()))
		e.Frame()
	}
}

func BenchmarkEncodeResponse(b *testing.B) {
	p := message(&raft.AppendResponse{Term: 1})
	var e Encoder
	b.ReportAllocs()
	for b.Loop() {
		e.Message(p.Envelope)
		e.Frame()
	}
}

func BenchmarkDecodeAppend(b *testing.B) {
	entries := make([]raft.Entry, 100)
	for i := range entries {
		entries[i] = placed(7, raft.Index(i+1), 1, strings.Repeat("x", 256))
	}
	frame := join(encode(new(Encoder), message(&raft.AppendEntries{Term: 1, Entries: entries})))
	packets := make([]Packet, 0, 1)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(packets, frame); err != nil {
			b.Fatal(err)
		}
	}
}
