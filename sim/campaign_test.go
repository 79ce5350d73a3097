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

// TestSameSeedSameTrace runs seeds twice: the production code, its disks, clocks and network give the same trace.
func TestSameSeedSameTrace(t *testing.T) {
	for seed := uint64(1); seed <= 6; seed++ {
		a, b := Run(RunOptions{Seed: seed}), Run(RunOptions{Seed: seed})
		if a.Hash != b.Hash || a.Steps != b.Steps {
			t.Errorf("seed %d: %d steps with trace %x, then %d steps with %x", seed, a.Steps, a.Hash, b.Steps, b.Hash)
		}
	}
}
