package wal

import "fmt"

// place is where the reading of a log stopped.
type place uint8

const (
	placeEmpty         place = 1 << iota // there are no segments
	placeFirstHead                       // the first segment has no sound head
	placeBody                            // among the batches of a segment, which is the last one
	placeHead                            // the same, and there is another one, without a sound head
	placeContradiction                   // at a record whose checksum is good and which does not follow from those before it
	placeGap                             // a segment's file is missing that is needed
)

// after is what follows there, in the same segment.
type after uint8

const (
	afterZeros after = 1 << iota // nothing but zeros, to the end of the file
	afterBytes                   // something
	afterAny   = afterZeros | afterBytes
)

// proved says whether a mark lies beyond the place: whether more was durable than is sound.
type proved uint8

const (
	unproved proved = 1 << iota
	provedMore
	provedAny = unproved | provedMore
)

// copies is the state of the second copy of terms and votes.
type copies uint8

const (
	copiesSound   copies = 1 << iota // both files are
	copiesDamaged                    // at least one is not, or is missing beside the other
	copiesMissing                    // neither was ever written
	copiesAny     = copiesSound | copiesDamaged | copiesMissing
)

// verdict is what recovery does.
type verdict uint8

const (
	create verdict = iota + 1 // make a new log
	resume                    // go on at the end; repair the copies of the votes where they need it
	cut                       // the same, after what follows was overwritten with zeros
	refuse                    // change nothing, and say what is lost
)

// recoveryRow is one row of the decision table. Sets of bits say what it covers.
type recoveryRow struct {
	name    string
	place   place
	after   after
	proved  proved
	copies  copies
	verdict verdict
	reason  string
}

// recoveryTable decides what becomes of a log, by what is found where reading it stops. Each situation is in
// exactly one row; a test walks all of them.
//
// A mark is the only proof that something was durable; readable or not says nothing. What no mark covers was never
// acknowledged, or was in the last window before a crash: between a sync and the mark that tells of it.
var recoveryTable = []recoveryRow{
	{"new", placeEmpty, afterAny, provedAny, copiesMissing, create,
		"nothing was ever written here"},
	{"all segments gone", placeEmpty, afterAny, provedAny, copiesSound | copiesDamaged, refuse,
		"the votes are written after the first segment, so there was one"},

	{"creation interrupted", placeFirstHead, afterAny, unproved, copiesMissing, create,
		"the votes are written last, so creating this log was not completed and nobody relied on it"},
	{"first head lost", placeFirstHead, afterAny, unproved, copiesSound | copiesDamaged, refuse,
		"the head was durable before the votes were written"},
	{"first head lost, proved", placeFirstHead, afterAny, provedMore, copiesAny, refuse,
		"a later record proves that the head was durable, or the removal of the segments before it does"},

	// Segments that are missing in front of the first one are no situation of their own. Its head has all states as they were;
	// where the log, read to its end, gave up or replaced every entry that they held, they were removed. Otherwise, placeGap.
	{"clean end", placeBody | placeHead, afterZeros, unproved, copiesAny, resume,
		"the end of the log; a segment behind it was prepared, or about to be used, and is removed; a copy of the votes that is damaged is written anew from the log, which is whole"},
	{"torn tail", placeBody | placeHead, afterBytes, unproved, copiesSound, cut,
		"nothing proves that it was durable: a write that was under way when the power went, never acknowledged"},
	{"torn tail without votes", placeBody | placeHead, afterBytes, unproved, copiesDamaged | copiesMissing, refuse,
		"the votes are written only when the log is whole: no crash damages both, and what is cut might hold the only copy of a vote"},
	{"end lost", placeBody, afterZeros, provedMore, copiesAny, refuse,
		"a mark proves that there was more: zeroed sectors, or a file that became shorter"},
	{"corruption", placeBody, afterBytes, provedMore, copiesAny, refuse,
		"a mark proves that these bytes were durable: they may have been acknowledged"},
	{"head lost", placeHead, afterAny, provedMore, copiesAny, refuse,
		"a later record proves that a segment was in use whose head is not sound"},

	{"contradiction", placeContradiction, afterAny, provedAny, copiesAny, refuse,
		"whole records that do not fit together: written by an error of ours, or exchanged on the disk"},
	{"segment missing", placeGap, afterAny, provedAny, copiesAny, refuse,
		"segments are removed from the front only, and only when every entry in them was given up durably; this one is needed"},
}

// finding is a situation: one value each.
type finding struct {
	place  place
	after  after
	proved proved
	copies copies
}

func (row recoveryRow) covers(f finding) bool {
	return row.place&f.place != 0 && row.after&f.after != 0 && row.proved&f.proved != 0 && row.copies&f.copies != 0
}

func decide(f finding) (recoveryRow, error) {
	for _, row := range recoveryTable {
		if row.covers(f) {
			return row, nil
		}
	}
	return recoveryRow{}, fmt.Errorf("wal: no row of the recovery table covers %+v", f)
}

// finding sums up what the replay found.
func (r *replay) finding() finding {
	f := finding{place: r.stop, after: afterZeros, proved: unproved, copies: copiesSound}
	if r.end.Less(r.written) {
		f.after = afterBytes
	}
	if r.end.Less(r.proof.mark) {
		f.proved = provedMore
	}
	// Where the proof lies in this segment, what is lost is here, whatever the head behind it is like.
	if r.stop == placeBody && r.badHead != 0 && (f.proved == unproved || r.end.Segment < r.proof.mark.Segment) {
		f.place = placeHead
	}
	if r.copies[0] == nil || r.copies[1] == nil {
		f.copies = copiesDamaged
	}
	if r.copies[0] == nil && r.copies[1] == nil && r.badVotes[0] == nil && r.badVotes[1] == nil {
		f.copies = copiesMissing
	}
	return f
}
