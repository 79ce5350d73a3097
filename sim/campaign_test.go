package sim

import (
	"context"
	"testing"
	"time"
)

// TestCampaign is the smoke of `balsa sim`: fresh seeds are its business, here it is always the same ones.
func TestCampaign(t *testing.T) {
	limit := 25 * time.Second
	if testing.Short() {
		limit = 5 * time.Second
	}
	report := Campaign{First: 1, Seeds: 60, Limit: limit, Without: []string{"disk errors"}}.Run(context.Background())
	for _, f := range report.Violations {
		t.Errorf("seed %d (%s): %v", f.Seed, f.Plan, f.Violation)
	}
	t.Log(report.Line())
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
