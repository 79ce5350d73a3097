package raft

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// TestConfigurationsOfTheFirstLevelAreAsTheyWere: a build that knows of no levels reads what this one writes, until the level is raised;
// from then on it refuses, as this one does what a later one writes.
func TestConfigurationsOfTheFirstLevelAreAsTheyWere(t *testing.T) {
	c := FirstConfiguration([]Member{{1, 0}, {2, 3}})
	c.Removed = []MemberID{7, 9}
	plain := c.Encode()
	if plain[2] != 0 || plain[3] != 0 {
		t.Errorf("features %x without a level", plain[2:4])
	}
	c.Level = FirstLevel
	if !reflect.DeepEqual(c.Encode(), plain) {
		t.Error("the first level is written")
	}
	c.Level = BuildLevel
	leveled := c.Encode()
	if leveled[3] == 0 {
		t.Error("a build without levels would take this for one of the first level")
	}
	if got, err := DecodeConfiguration(leveled); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v came back as %+v, %v", c, got, err)
	}
	for name, b := range map[string][]byte{
		"of a later build": append(leveled[:len(leveled)-2:len(leveled)-2], byte(BuildLevel+1), 0),
		"cut short":        leveled[:len(leveled)-1],
		"of no level":      append(leveled[:len(leveled)-2:len(leveled)-2], 1, 0),
	} {
		if _, err := DecodeConfiguration(b); !errors.Is(err, ErrBadConfiguration) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLevelRisesOneAtATime has the refusals, and what is left of the configuration where one is not made.
func TestLevelRisesOneAtATime(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	leader := w.elect(1)
	w.settle()
	at := leader.raft.Membership().Index
	for _, row := range []struct {
		what string
		from Index
		to   Level
		want error
	}{
		{"to where it is", at, FirstLevel, ErrBadLevel},
		{"two at once", at, FirstLevel + 2, ErrBadLevel},
		{"for another configuration", at + 1, FirstLevel + 1, ErrConfigurationChanged},
	} {
		if _, err := leader.raft.RaiseLevel(w.now, row.from, row.to); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.what, err, row.want)
		}
	}
	if _, err := leader.raft.RaiseLevel(w.now, at, BuildLevel); err != nil {
		t.Fatal(err)
	}
	if _, err := w.member(2).raft.RaiseLevel(w.now, at, BuildLevel); !errors.As(err, new(*NotLeaderError)) {
		t.Errorf("a follower says %v", err)
	}
	w.settle()
	for id := MemberID(1); id <= 3; id++ {
		if m := w.member(id).raft.Membership(); m.Speaks() != BuildLevel || !m.Committed || m.Voters() != 3 {
			t.Errorf("member %d is at %+v", id, m)
		}
	}
	old := Config{Group: 1, Self: 1, Members: []Member{{1, 0}}, Level: FirstLevel, ElectionTimeout: 10, HeartbeatInterval: 1, Random: func() uint64 { return 1 }}
	covered := w.member(1).raft.Membership().ConfigurationAt
	_, err := New(old, Restored{Applied: Position{Index: covered.Index, Term: 1}, Configuration: &covered}, 0)
	if err == nil || !strings.Contains(err.Error(), "the cluster was upgraded") {
		t.Errorf("an older build that finds the level raised says %v", err)
	}
}
