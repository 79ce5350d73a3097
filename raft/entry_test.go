package raft

import (
	"bytes"
	"errors"
	"testing"
)

func TestEntryFrame(t *testing.T) {
	e := NewEntry(EntryNormal, 5)
	copy(e.Payload(), "hello")
	e.SetSession(7, 8)
	e.Seal()
	if e.Index() != 0 || e.Term() != 0 || e.Group() != 0 || e.CheckBody() != nil || e.Check() == nil {
		t.Fatalf("a proposal has no place yet: %v of group %d, %v", e.Position(), e.Group(), e.Check())
	}
	e.place(3, 4, 5)
	session, sequence := e.Session()
	if e.Kind() != EntryNormal || e.Group() != 3 || e.Position() != (Position{4, 5}) || session != 7 || sequence != 8 ||
		string(e.Payload()) != "hello" || e.Check() != nil {
		t.Fatalf("%v of group %d, kind %v, session %d/%d, %q: %v", e.Position(), e.Group(), e.Kind(), session, sequence, e.Payload(), e.Check())
	}
	// Any changed bit is noticed.
	for bit := range len(e) * 8 {
		e[bit/8] ^= 1 << (bit % 8)
		if e.Check() == nil {
			t.Fatalf("bit %d is flipped, and nobody notices", bit)
		}
		e[bit/8] ^= 1 << (bit % 8)
	}
	// Placed anew by another leader, it is the same command.
	body := bytes.Clone(e[:28])
	e.place(3, 9, 6)
	if !bytes.Equal(body, e[:28]) || e.Check() != nil {
		t.Fatal("placing touches the body")
	}
	for kind, want := range map[EntryKind]string{EntryNormal: "normal", EntryNoop: "noop", EntryConfiguration: "configuration", EntrySession: "session", 9: "kind-9"} {
		if kind.String() != want {
			t.Errorf("%s, want %s", kind, want)
		}
	}
}

func FuzzCutEntry(f *testing.F) {
	f.Add([]byte(SealedEntry(EntryNormal, []byte("hello"))))
	f.Add(bytes.Join([][]byte{SealedEntry(EntryNoop, nil), SealedEntry(EntryNormal, []byte("x"))}, nil))
	f.Add([]byte("short"))
	for _, at := range []int{0, 3, 6, 7} { // version, incompatible flags, length
		bad := SealedEntry(EntryNormal, []byte("hello"))
		bad[at] = 0xff
		f.Add([]byte(bad))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, rest, err := CutEntry(data)
		if err != nil {
			if !errors.Is(err, ErrBadEntry) || !bytes.Equal(rest, data) {
				t.Fatalf("%v, %d bytes are left of %d", err, len(rest), len(data))
			}
			return
		}
		if len(e)+len(rest) != len(data) || len(e.Payload()) != len(e)-EntryHeaderSize || cap(e) != len(e) {
			t.Fatalf("cut %d of %d bytes, %d are left", len(e), len(data), len(rest))
		}
		if e.CheckBody() == nil {
			again := e
			again.place(1, 2, 3)
			if again.Check() != nil {
				t.Fatal("a good proposal is bad once placed")
			}
		}
	})
}

// What only a broken caller can do is an assertion, and says what was wrong.
func TestAssertions(t *testing.T) {
	for name, call := range map[string]func(*Raft){
		"a write that was never asked for": func(r *Raft) { r.Persisted(0, 99) },
		"an index that was not handed out": func(r *Raft) { r.Applied(0, 99) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if err, ok := recover().(*AssertionError); !ok || err.Error() == "" {
					t.Fatalf("recovered %v", err)
				}
			}()
			call(newWorld(t, 3, Limits{}).member(1).raft)
			t.Fatal("nothing is noticed")
		})
	}
}
