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
	"time"

	"github.com/balsadb/balsa/internal/cluster"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/vfs"
	"github.com/balsadb/balsa/wal"
)

var (
	flipRounds = flag.Int("flip-rounds", 3, "how many times TestFlips flips a bit of a member's data directory")
	flipSeed   = flag.Uint64("flip-seed", 7, "what TestFlips draws its bits from; 0: something new each time")
)

// TestFlips flips one random bit in a random file of one member of a cluster that is being written to, again and again, half the time while
// the member is stopped and half the time while it runs, and judges each time what came of it: every member serves again without anybody's
// help, holds everything that was acknowledged, has the hash of the others, and ends without an error when it is asked to; a member that was stopped
// then has a sound directory. It writes a table of the outcomes. In each tenth round the bit is one of the last batch of a log while another member
// lacks that, and these two are alone for a while.
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
	case f.round%10 == 2:
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
		f.refused(kind, place, moment, refused)
		return
	}
	f.awaitAll(ctx)
	compare(ctx, f.T, f.c, f.written)
	// What was flipped while it ran shows at the next start, or else when everything is read.
	noticed := f.said(m, before)
	f.stop(ctx, m)
	f.launch(m)
	if refused := f.refusal(ctx, m); refused != "" {
		f.refused(kind, place, moment, refused)
		return
	}
	f.awaitAll(ctx)
	compare(ctx, f.T, f.c, f.written)
	f.stop(ctx, m)
	verdict := runToEnd(f.T, program(f.T, "balsa", "verify", m.Dir))
	f.launch(m)
	f.awaitAll(ctx)
	outcome := f.said(m, before)
	if noticed == "" && outcome != "" {
		outcome += ", after the next start"
	}
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

// refused is the outcome of a member that does not start: a failure, since no single bit may take more than the others can give back.
func (f *flips) refused(kind, place, moment, why string) {
	f.outcome(kind, moment, "REFUSED")
	f.Errorf("round %d: a bit of %s, %s: the member does not start: %s", f.round, place, moment, why)
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

// stop ends a member, in one of two ways. Asked to end it does so without an error, whatever it has met.
func (f *flips) stop(ctx context.Context, m *cluster.Member) {
	if f.random.IntN(2) == 0 {
		m.Kill()
		return
	}
	if err := m.Terminate(ctx); err != nil {
		f.Errorf("round %d: %v", f.round, err)
	}
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
	{regexp.MustCompile(`this member has a state again`), "repaired: state, from the leader"},
	{regexp.MustCompile(`it is rebuilt from (the log|a snapshot)`), "repaired: state, from this disk"},
	{regexp.MustCompile(`one of the two copies of identity.json`), "repaired: identity"},
	{regexp.MustCompile(`the file that names the (current state|format of the state) is damaged`), "repaired: name of the state"},
	{regexp.MustCompile(`the log is whole again`), "repaired: log, from the others"},
	{regexp.MustCompile(`the log was mended as it was opened|the log is damaged, and is mended`), "repaired: log, from this disk"},
	{regexp.MustCompile(`a snapshot (could not be installed|cannot be (read|sent)|is of no use)`), "repaired: snapshot"},
	{regexp.MustCompile(`register .*damaged|peers.*(damaged|put aside)`), "repaired: register of peers"},
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

// lastRecord damages the last batch of what a member's log holds while another member is away and lacks it, and lets these two be alone: who
// leads them must not do without it.
func (f *flips) lastRecord(ctx context.Context, m *cluster.Member) string {
	away := f.c.Members[m.Number%len(f.c.Members)]
	var holder *cluster.Member
	for _, other := range f.c.Members {
		if other != m && other != away {
			holder = other
		}
	}
	away.Kill()
	client := dial(f.T, f.c.Endpoints()...)
	defer client.Close()
	f.written = fillKeys(ctx, f.T, client, f.written, 5)
	// Killed within the milliseconds before its log proves the batch, it could not tell it from a torn tail: docs/formats-wal.md, "The last window".
	if err := m.Terminate(ctx); err != nil {
		f.Errorf("round %d: %v", f.round, err)
	}
	last := lastBatch(f.T, m.Dir)
	f.path, f.bit = filepath.Join(m.Dir, "wal", filepath.Base(last.File)), 8*last.At.Offset+f.random.Int64N(8*last.Size)
	flipBit(f.T, f.path, f.bit)
	holder.Kill()
	f.launch(m)
	f.launch(away)
	f.letThemTry(ctx, m, away)
	f.launch(holder)
	return fmt.Sprintf("%s (bit %d)", f.path, f.bit)
}

// letThemTry gives two members of three the time for several elections, or for a leader.
func (f *flips) letThemTry(ctx context.Context, members ...*cluster.Member) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second/2)
	defer cancel()
	for ctx.Err() == nil {
		for _, m := range members {
			if s, err := statusOf(ctx, m); err == nil && s.Role == "leader" {
				return
			}
		}
		pauseBetweenLooks(ctx)
	}
}

// lastBatch returns the last batch of a log that holds entries.
func lastBatch(t *testing.T, dir string) (last wal.BatchInfo) {
	t.Helper()
	err := wal.Dump(vfs.NewOS(dir), datadir.LogDir, wal.Visitor{Batch: func(b wal.BatchInfo) error {
		if len(b.Runs) > 0 {
			last = b
		}
		return nil
	}})
	if err != nil || last.Size == 0 {
		t.Fatalf("the log in %s has no entries: %v", dir, err)
	}
	return last
}
