package transport

import (
	"errors"
	"testing"

	"github.com/balsadb/balsa/raft"
)

// TestE21WhoIsAdmitted walks the table of Admit.
func TestE21WhoIsAdmitted(t *testing.T) {
	known := Acquaintance{Life: 2, DataDir: [16]byte{1}, Progress: 100, Boot: 7}
	for _, row := range []struct {
		name     string
		life     raft.Incarnation
		dir      byte
		boot     uint64
		progress Progress
		want     Reason
	}{
		{"an earlier life", 1, 1, 8, 200, ReasonEarlierLife},
		{"wiped", 2, 2, 8, 200, ReasonDataDir},
		{"an older copy", 2, 1, 8, 99, ReasonStale},
		{"a restart", 2, 1, 8, 100, accepted},
		{"further", 2, 1, 8, 101, accepted},
		{"the same process, overtaken by itself", 2, 1, 7, 99, accepted},
		{"an earlier build, which says nothing", 2, 1, 0, 0, accepted},
		{"a later life", 3, 2, 8, 1, accepted},
	} {
		register := NewRegister()
		if err := register.Remember(5, known, true); err != nil {
			t.Fatal(err)
		}
		refusal, err := Admit(register, Identity{Member: 5, Life: row.life, DataDir: [16]byte{row.dir}}, row.boot, row.progress)
		if err != nil || row.want == accepted && refusal != nil || row.want != accepted && (refusal == nil || refusal.Reason != row.want) {
			t.Errorf("%s: %v, %v, want %v", row.name, refusal, err, row.want)
		}
		now, _ := register.Recall(5)
		switch {
		case row.want != accepted && now != known:
			t.Errorf("%s: was refused, and is remembered as %+v", row.name, now)
		case row.want == accepted && row.life == 2 && now.Progress < 100:
			t.Errorf("%s: what was known is forgotten: %+v", row.name, now)
		}
	}
}

// unwilling keeps nothing.
type unwilling struct{ Register }

func (unwilling) Remember(raft.MemberID, Acquaintance, bool) error { return errors.New("disk full") }

// Who cannot be remembered is not listened to: its acknowledgements would count, and nobody would notice when it loses them.
func TestE21WhoCannotBeRememberedIsNotAdmitted(t *testing.T) {
	if refusal, err := Admit(unwilling{NewRegister()}, Identity{Member: 5, Life: 1}, 1, 1); refusal != nil || err == nil {
		t.Errorf("%v, %v", refusal, err)
	}
}
