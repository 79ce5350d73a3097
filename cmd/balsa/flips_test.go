package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/balsadb/balsa/internal/cluster"
)

var (
	flipRounds = flag.Int("flip-rounds", 3, "how many times TestFlips flips a bit of a member's data directory")
	flipSeed   = flag.Uint64("flip-seed", 7, "what TestFlips draws its bits from; 0: something new each time")
)

// TestFlips flips one random bit in a random file of one member of a cluster that is being written to, again and again, half the time while
// the member is stopped and half the time while it runs, and judges each time what came of it: every member serves again without anybody's
// help, holds everything that was acknowledged, and has the hash of the others; a member that was stopped then has a sound directory. It writes a table
// of the outcomes. In each tenth round the bit is one of the last record of a log while another member is away, and the leader is killed.
func TestFlips(t *testing.T) {
	seed := cmp.Or(*flipSeed, rand.Uint64())
	t.Logf("go test ./cmd/balsa -run TestFlips -flip-rounds %d -flip-seed %d", *flipRounds, seed)
	f := &flips{
		T: t, random: rand.New(rand.NewPCG(seed, 0)), outcomes: map[string]int{},
		c: startCluster(t, 3, cluster.Options{Args: []string{"--testing-log-segment-bytes=65536", "--heartbeat-interval=50", "--election-timeout=500"}}),
	}
	defer f.report()
	for f.round = range *flipRounds {
		ctx, cancel := context.WithTimeout(t.Context(), 2*repairPatience)
		f.play(ctx)
		cancel()
		if t.Failed() {
			return
		}
	}
}

type flips struct {
	*testing.T
	random   *rand.Rand
	c        *cluster.Cluster
	round    int
	written  int
	path     string // what was flipped last
	bit      int64
	outcomes map[string]int // by kind of file, moment and outcome
}

// play is one round.
func (f *flips) play(ctx context.Context) {
	client := dial(f.T, f.c.Endpoints()...)
	defer client.Close()
	f.written = fillKeys(ctx, f.T, client, f.written, 40)
	m := f.c.Members[f.random.IntN(len(f.c.Members))]
	before := f.logSize(m)
	var place, moment string
	switch {
	case f.round%10 == 9:
		place, moment = f.lastRecord(ctx, m), "last record"
	case f.round%2 == 0:
		m.Kill()
		place, moment = f.flipSomewhere(m.Dir), "at rest"
		f.written = fillKeys(ctx, f.T, client, f.written, 10)
		f.launch(m)
	default:
		place, moment = f.flipSomewhere(m.Dir), "running"
		f.written = fillKeys(ctx, f.T, client, f.written, 10)
	}
	f.judge(ctx, m, place, moment, before)
}

// judge says what came of a flip.
func (f *flips) judge(ctx context.Context, m *cluster.Member, place, moment string, before int64) {
	kind := kindOfFile(place)
	if refused := f.refusal(ctx, m); refused != "" {
		f.refused(ctx, m, place, moment, refused)
		return
	}
	f.awaitAll(ctx)
	compare(ctx, f.T, f.c, f.written)
	// What was flipped while it ran shows at the next start, or else when everything is read.
	m.Kill()
	f.launch(m)
	if refused := f.refusal(ctx, m); refused != "" {
		f.refused(ctx, m, place, moment, refused)
		return
	}
	f.awaitAll(ctx)
	compare(ctx, f.T, f.c, f.written)
	m.Kill()
	verdict := runToEnd(f.T, program(f.T, "balsa", "verify", m.Dir))
	f.launch(m)
	f.awaitAll(ctx)
	outcome := f.said(m, before)
	if outcome == "" && verdict.code != 0 {
		f.Errorf("round %d: a bit of %s, %s: it is damaged, and nobody noticed:\n%s", f.round, place, moment, verdict.stdout)
		outcome = "NOT NOTICED"
	}
	if outcome == "" {
		outcome = "harmless: " + f.why(place)
	}
	f.Logf("round %d: %s, %s: %s", f.round, place, moment, outcome)
	f.outcome(kind, moment, outcome)
}

// refused is the outcome of a member that does not start. Of the log that is told and counted, as long as members do not fetch what it lost: the
// bit is put back. Of anything else it is a failure.
func (f *flips) refused(ctx context.Context, m *cluster.Member, place, moment, why string) {
	kind := kindOfFile(place)
	f.Logf("round %d: %s, %s: refused: %s", f.round, place, moment, why)
	if !strings.HasPrefix(kind, "wal/") {
		f.outcome(kind, moment, "REFUSED")
		f.Errorf("round %d: a bit of %s, %s: the member does not start: %s", f.round, place, moment, why)
		return
	}
	f.outcome(kind, moment, "log: refused")
	flipBit(f.T, f.path, f.bit)
	f.launch(m)
	f.awaitAll(ctx)
	compare(ctx, f.T, f.c, f.written)
}

// why says what makes a flip harmless that changed nothing.
func (f *flips) why(place string) string {
	if _, err := os.Stat(strings.Split(place, " ")[0]); err != nil {
		return "the file was replaced or removed before anybody read it"
	}
	return "nothing that is read, or written over"
}

func (f *flips) outcome(kind, moment, outcome string) { f.outcomes[kind+"\t"+moment+"\t"+outcome]++ }

// report writes the table.
func (f *flips) report() {
	var text bytes.Buffer
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "file\tmoment\toutcome\ttimes")
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range f.outcomes {
			if !yield(key) {
				return
			}
		}
	}) {
		fmt.Fprintf(out, "%s\t%d\n", key, f.outcomes[key])
	}
	out.Flush()
	f.Logf("outcomes:\n%s", text.String())
}

func (f *flips) launch(m *cluster.Member) {
	if err := m.Launch(); err != nil {
		f.Fatal(err)
	}
}

// refusal returns the last line of a member that has ended by itself, nothing where it runs and serves, or is being repaired.
func (f *flips) refusal(ctx context.Context, m *cluster.Member) string {
	for ctx.Err() == nil {
		if !m.Running() {
			log, _ := os.ReadFile(m.Log)
			lines := strings.Split(strings.TrimSpace(string(log)), "\n")
			return lines[len(lines)-1]
		}
		if _, err := statusOf(ctx, m); err == nil {
			return ""
		}
		pauseBetweenLooks(ctx)
	}
	return "it neither serves nor ends"
}

func (f *flips) awaitAll(ctx context.Context) {
	for _, m := range f.c.Members {
		awaitSound(ctx, f.T, m)
	}
}

// repairs are the lines by which members tell of repairs.
var repairs = []struct {
	line    *regexp.Regexp
	outcome string
}{
	{regexp.MustCompile(`this member has a state again|it is rebuilt from (the log|a snapshot)`), "repaired: state"},
	{regexp.MustCompile(`one of the two copies of identity.json`), "repaired: identity"},
	{regexp.MustCompile(`the file that names the current state is damaged`), "repaired: name of the state"},
	{regexp.MustCompile(`(?i)log (is|was) (mended|repaired)|entries (were|are) fetched|repaired .*log|damaged entr|(was|will be) written anew`), "repaired: log"},
	{regexp.MustCompile(`a snapshot (could not be installed|cannot be (read|sent)|is of no use)`), "repaired: snapshot"},
}

func (f *flips) logSize(m *cluster.Member) int64 {
	about, err := os.Stat(m.Log)
	if err != nil {
		return 0
	}
	return about.Size()
}

// said returns the repair that a member has told of since its log had a length.
func (f *flips) said(m *cluster.Member, since int64) string {
	log, err := os.ReadFile(m.Log)
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range repairs {
		if r.line.Match(log[min(since, int64(len(log))):]) {
			return r.outcome
		}
	}
	return ""
}

// flipSomewhere flips a bit of a file: first a kind is drawn, then a file of that kind, so that the small ones come up too.
func (f *flips) flipSomewhere(dir string) string {
	for {
		byKind := map[string][]string{}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // files come and go
			}
			if about, err := d.Info(); err == nil && about.Size() > 0 {
				byKind[kindOfFile(path)] = append(byKind[kindOfFile(path)], path)
			}
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
		kinds := make([]string, 0, len(byKind))
		for kind := range byKind {
			kinds = append(kinds, kind)
		}
		slices.Sort(kinds)
		kind := kinds[f.random.IntN(len(kinds))]
		path := byKind[kind][f.random.IntN(len(byKind[kind]))]
		about, err := os.Stat(path)
		if err != nil {
			continue
		}
		bit := f.random.Int64N(8 * about.Size())
		f.path, f.bit = path, bit
		flipBit(f.T, path, bit)
		return fmt.Sprintf("%s (bit %d of %d bytes)", path, bit, about.Size())
	}
}

var digits = regexp.MustCompile(`[0-9a-f]{4,}|[0-9]+`)

// kindOfFile is a file's place without what is different each time.
func kindOfFile(path string) string {
	path, _, _ = strings.Cut(path, " (")
	parts := strings.Split(filepath.ToSlash(path), "/")
	for i, part := range parts {
		if part == "wal" || part == "state" || part == "snapshots" {
			return digits.ReplaceAllString(strings.Join(parts[i:], "/"), "N")
		}
	}
	return parts[len(parts)-1]
}

// lastRecord damages the end of what a member's log holds while another member is away, and kills the leader then.
func (f *flips) lastRecord(ctx context.Context, m *cluster.Member) string {
	away := f.c.Members[m.Number%len(f.c.Members)]
	away.Kill()
	client := dial(f.T, f.c.Endpoints()...)
	defer client.Close()
	f.written = fillKeys(ctx, f.T, client, f.written, 5)
	m.Kill()
	path, end := lastByteOfLog(f.T, m.Dir)
	bit := 8*(end-1-f.random.Int64N(min(end, 64))) + f.random.Int64N(8)
	f.path, f.bit = path, bit
	flipBit(f.T, path, bit)
	f.launch(m)
	for _, other := range f.c.Members {
		if other != m && other != away {
			other.Kill()
			f.launch(other)
		}
	}
	f.launch(away)
	return fmt.Sprintf("%s (bit %d)", path, bit)
}

// lastByteOfLog returns the last segment of a log that holds anything, and where that ends.
func lastByteOfLog(t *testing.T, dir string) (path string, end int64) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Backward(segments) {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it was removed meanwhile
		}
		if trimmed := len(bytes.TrimRight(text, "\x00")); trimmed > 4096 {
			return name, int64(trimmed)
		}
	}
	t.Fatalf("%s has no log", dir)
	return "", 0
}
