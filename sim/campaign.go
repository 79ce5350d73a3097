package sim

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Campaign is many runs with seeds that follow each other.
type Campaign struct {
	First   uint64        // seed
	Seeds   uint64        // how many; 0 for as many as there is time for
	Limit   time.Duration // of real time; 0 for none
	Jobs    int           // runs at once; 0 for one a processor
	Without []string      // faults that are left out
	// Backwards begins with the last of the seeds. Their number is known then.
	Backwards bool
	// Each is told of each run that was made, one after the other; nil is fine.
	Each func(Result)
	// Progress is told from time to time how far it is; nil is fine.
	Progress func(Report)
	// Failures is how many violations end the campaign; 1 where it is 0.
	Failures int

	plant func(*RunOptions) // what a test wants to see noticed
}

// Run makes the runs and returns their report. It ends early with the context, and then reports what there is.
//
//balsa:edge it measures real time, and starts a goroutine for each job; a run is a world of its own, on one of them
func (c Campaign) Run(ctx context.Context) Report {
	jobs := c.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.Limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.Limit)
		defer stop()
	}
	p := &progress{campaign: c, report: newReport(jobs, c.Without), began: time.Now(), next: c.First}
	var group sync.WaitGroup
	for range jobs {
		group.Go(func() {
			for {
				seed, more := p.take(ctx)
				if !more {
					return
				}
				options := RunOptions{Seed: seed, Without: c.Without}
				if c.plant != nil {
					c.plant(&options)
				}
				result := Run(options)
				if p.done(result) {
					cancel()
				}
			}
		})
	}
	group.Wait()
	p.report.Elapsed = time.Since(p.began)
	return p.report
}

// progress is what the jobs share.
type progress struct {
	campaign Campaign
	mu       sync.Mutex
	report   Report
	began    time.Time
	told     time.Time
	next     uint64
}

// take returns the next seed.
func (p *progress) take(ctx context.Context) (seed uint64, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil || p.campaign.Seeds > 0 && p.next-p.campaign.First >= p.campaign.Seeds {
		return 0, false
	}
	p.next++
	if c := &p.campaign; c.Backwards {
		return c.First + c.Seeds - (p.next - c.First), true
	}
	return p.next - 1, true
}

// done takes a result into account, and reports whether the campaign is over.
//
//balsa:edge it measures real time
func (p *progress) done(result Result) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.add(result)
	p.report.Elapsed = time.Since(p.began)
	if p.campaign.Each != nil {
		p.campaign.Each(result)
	}
	if p.campaign.Progress != nil && time.Since(p.told) > time.Second {
		p.told = time.Now()
		p.campaign.Progress(p.report)
	}
	return len(p.report.Violations) >= max(1, p.campaign.Failures)
}
