package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// options are the command's flags.
type options struct {
	only, keep, format string
	page               string
	first, seeds       uint64
	limit              time.Duration
	jobs               int
	list               bool
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "hunt only the mutants with these `names` (a,b; wal/* by file)")
	flag.Uint64Var(&o.first, "first", uint64(time.Now().UnixNano())/1000%1e12, "the first seed")
	flag.Uint64Var(&o.seeds, "seeds", 2000, "how many seeds a mutant may survive at most")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "how long a mutant may survive at most")
	flag.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "mutants hunted at once")
	flag.StringVar(&o.keep, "keep", "", "leave the program and the overlay in this `directory`")
	flag.StringVar(&o.format, "o", "text", "text, markdown or json")
	flag.StringVar(&o.page, "page", "", "put the table into this `file` of Markdown too, between its marks (docs/track-record/mutants.md)")
	flag.BoolVar(&o.list, "list", false, "print the mutants, and hunt none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	survived, err := huntAll(ctx, o)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	case survived > 0:
		os.Exit(1)
	}
}

// huntAll builds the program, hunts, and prints the table. It returns how many mutants survived.
func huntAll(ctx context.Context, o options) (survived int, err error) {
	all, err := mutants()
	if err != nil {
		return 0, err
	}
	hunted := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !o.wants(&m) })
	if len(hunted) == 0 {
		return 0, fmt.Errorf("no mutant is called %s", o.only)
	}
	if o.page != "" && len(hunted) < len(all) {
		return 0, errors.New("-page is for a hunt for all of them")
	}
	if o.list {
		for _, m := range hunted {
			fmt.Printf("%-40s %-24s %s\n", m.name, m.file, m.why)
		}
		return 0, nil
	}
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "mutants"); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, err
	}
	program, err := build(ctx, dir, all)
	if err != nil {
		return 0, err
	}
	h := hunt{program: program, first: o.first, seeds: o.seeds, limit: o.limit}
	r := h.all(ctx, hunted, o.jobs)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r.Commit = sourcesOf(ctx)
	if o.page != "" {
		if err := r.rewrite(o.page); err != nil {
			return 0, err
		}
	}
	return r.Survived, r.write(os.Stdout, o.format)
}

// wants reports whether a mutant is to be hunted.
func (o *options) wants(m *mutant) bool {
	if o.only == "" {
		return true
	}
	return slices.ContainsFunc(strings.Split(o.only, ","), func(pattern string) bool {
		byName, _ := path.Match(pattern, m.name)
		byFile, _ := path.Match(pattern, m.file)
		return byName || byFile
	})
}

// all hunts several mutants at once, each on a processor of its own, and says on stderr how far it is.
func (h *hunt) all(ctx context.Context, hunted []mutant, jobs int) report {
	began := time.Now()
	r := report{First: h.first, Jobs: max(1, jobs)}
	var mu sync.Mutex
	var group sync.WaitGroup
	queue := make(chan mutant)
	for range r.Jobs {
		group.Go(func() {
			for m := range queue {
				o := h.mutant(ctx, m)
				mu.Lock()
				r.add(o)
				fmt.Fprintf(os.Stderr, "%d of %d after %v, %d caught: %s: %d seeds, %.1f s, %s\n", len(r.Mutants), len(hunted),
					time.Since(began).Round(time.Second), r.Caught, o.Name, o.Seeds, o.Seconds, o.by())
				mu.Unlock()
			}
		})
	}
	for _, m := range hunted {
		select {
		case queue <- m:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	group.Wait()
	r.Seconds = time.Since(began).Seconds()
	return r
}
