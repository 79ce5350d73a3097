package diff

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balsadb/balsa/bench/servers"
)

var record = flag.Bool("record", false, "write what etcd answers into testdata/cases")

// script is one file of testdata/cases: a stream with the answers that were recorded of etcd.
//
//	# a comment
//	Put key:"a" value:"1"
//	    ok header:{...}
type script struct {
	path  string
	lines []line
}

// line is a line of a script as it stands in the file, with the call that it is, if it is one, and its recorded answer.
type line struct {
	text   string
	call   *call
	answer answer
}

func readScript(path string) (*script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &script{path: path}
	for n, text := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		switch {
		case strings.HasPrefix(text, "    "):
			if len(s.lines) == 0 || s.lines[len(s.lines)-1].call == nil {
				return nil, fmt.Errorf("%s:%d: an answer that follows no call", path, n+1)
			}
			s.lines[len(s.lines)-1].answer = answer(strings.TrimSpace(text))
		case text == "" || strings.HasPrefix(text, "#"):
			s.lines = append(s.lines, line{text: text})
		default:
			c, err := parseCall(text)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
			}
			s.lines = append(s.lines, line{text: text, call: &c})
		}
	}
	return s, nil
}

func (s *script) write() error {
	var b strings.Builder
	for _, l := range s.lines {
		fmt.Fprintln(&b, l.text)
		if l.call != nil {
			fmt.Fprintf(&b, "    %s\n", l.answer)
		}
	}
	return os.WriteFile(s.path, []byte(b.String()), 0o644)
}

// TestCases makes the calls of testdata/cases on both sides and compares the answers with those that were recorded.
func TestCases(t *testing.T) {
	paths, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases in testdata/cases", err)
	}
	p := sides(t, 3, servers.Kind(*peer))
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			s, err := readScript(path)
			if err != nil {
				t.Fatal(err)
			}
			s.play(t, p.reference, *record)
			if *record {
				if err := s.write(); err != nil {
					t.Fatal(err)
				}
				return
			}
			s.play(t, p.peer, false)
		})
	}
}

func (s *script) play(t *testing.T, side *side, record bool) {
	t.Helper()
	if err := side.reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range s.lines {
		l := &s.lines[i]
		if l.call == nil {
			continue
		}
		got, err := side.do(t.Context(), *l.call)
		switch {
		case err != nil:
			t.Fatalf("%s: %v: %v", side.name, l.text, err)
		case record:
			l.answer = got
		case got != l.answer:
			t.Errorf("%s\n    recorded: %s\n    %-8s: %s", l.text, l.answer, side.name, got)
		}
	}
}

// TestCasesOfAFreshCluster: what is as it is only before the first write.
func TestCasesOfAFreshCluster(t *testing.T) {
	slots := []slot{{"reference", servers.Etcd, 1}, {"peer", servers.Kind(*peer), 1}}
	calls := []string{
		`Status`, `MemberList`, `Alarm`, `Hash`, `HashKV`, `HashKV revision:1`, `HashKV revision:2`,
		`Range key:"a"`, `Range key:"a" revision:1`, `Range key:"a" revision:2`, `Txn`,
		`DeleteRange key:"a"`, `Compact revision:0`, `Compact revision:2`, `Compact revision:1`, `Compact revision:1`,
		`HashKV`, `Range key:"a" revision:1`, `Put key:"a"`, `Range key:"a"`, `Range key:"a" revision:1`,
	}
	answers := make([][]answer, len(slots))
	for i, slot := range slots {
		cluster := fresh(t, slot)
		defer cluster.Close()
		side := sideOf(cluster)
		for _, text := range calls {
			c, err := parseCall(text)
			if err != nil {
				t.Fatal(err)
			}
			a, err := side.do(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			answers[i] = append(answers[i], a)
		}
	}
	for i, text := range calls {
		if answers[0][i] != answers[1][i] {
			t.Errorf("%s\n    etcd: %s\n    %s: %s", text, answers[0][i], *peer, answers[1][i])
		}
	}
}
