package sim

import (
	"context"
	"slices"
	"testing"
	"time"
)

// TestCampaign is the smoke of `balsa sim`: fresh seeds are its business, here it is always the same ones.
func TestCampaign(t *testing.T) {
	limit := 25 * time.Second
	if testing.Short() {
		limit = 5 * time.Second
	}
	report := Campaign{First: 1, Seeds: 60, Limit: limit}.Run(context.Background())
	for _, f := range report.Violations {
		t.Errorf("seed %d (%s): %v", f.Seed, f.Plan, f.Violation)
	}
	t.Log(report.Line())
	if report.Runs >= 10 {
		judgesAll(t, &report)
	}
}

// The campaign can find what it is for: with a fault of ours planted, one of the seeds must show it, by the invariant that is named.
func noticed(t *testing.T, plant func(*RunOptions), invariants ...string) {
	t.Helper()
	for seed := uint64(1); seed <= 30; seed++ {
		options := RunOptions{Seed: seed}
		plant(&options)
		if v := Run(options).Violation; v != nil {
			if !slices.Contains(invariants, v.Invariant) {
				t.Errorf("seed %d shows it by another invariant: %v", seed, v)
			}
			t.Logf("noticed after %d seeds: %v", seed, v)
			return
		}
	}
	t.Error("thirty runs, and nobody noticed")
}

func TestCampaignNoticesStaleReads(t *testing.T) {
	noticed(t, func(o *RunOptions) { o.staleReads = true }, "linearizable history")
}

func TestCampaignNoticesDisksThatKeepNothing(t *testing.T) {
	noticed(t, func(o *RunOptions) { o.ignoreSync = true }, "acknowledged is durable on a majority")
}

// TestSameSeedSameTrace runs seeds twice, the second time in another order: the production code, its disks, clocks and network give
// the same traces. `balsa sim --twice` does it with many, the second time in another process. A single draw that the seed does not
// know of is noticed.
func TestSameSeedSameTrace(t *testing.T) {
	first := fingerprints(false, nil)
	for _, told := range Differences(first, fingerprints(true, nil)) {
		t.Error(told)
	}
	told := Differences(first, fingerprints(true, func(o *RunOptions) { o.unsteady = true }))
	if len(told) == 0 {
		t.Error("nobody noticed that what the network loses hangs on something other than the seed")
	}
	t.Log(told)
}

// fingerprints runs a few seeds.
func fingerprints(backwards bool, plant func(*RunOptions)) (all []Fingerprint) {
	c := Campaign{First: 1, Seeds: 4, Jobs: 2, Backwards: backwards, plant: plant}
	c.Each = func(r Result) { all = append(all, r.Fingerprint()) }
	c.Run(context.Background())
	SortFingerprints(all)
	return all
}

func TestDifferences(t *testing.T) {
	a := []Fingerprint{{1, 0xa, 5}, {2, 0xb, 6}, {3, 0xc, 7}, {5, 0xe, 9}}
	b := []Fingerprint{{2, 0xb, 6}, {3, 0xd, 7}, {4, 0xd, 8}, {5, 0xe, 10}}
	got := Differences(a, b)
	want := []string{
		"seed 1 was run once only",
		"seed 3: 7 steps with trace hash 000000000000000c, then 7 steps with trace hash 000000000000000d",
		"seed 4 was run once only",
		"seed 5: 9 steps with trace hash 000000000000000e, then 10 steps with trace hash 000000000000000e",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := Differences(a, slices.Clone(a)); got != nil {
		t.Errorf("%q", got)
	}
	for _, f := range a {
		if read, err := ParseFingerprint(f.String()); read != f || err != nil {
			t.Errorf("%v is read as %v, %v", f, read, err)
		}
	}
}
