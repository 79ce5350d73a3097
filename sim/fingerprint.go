package sim

import (
	"fmt"
	"slices"
)

// Fingerprint is what two runs of a seed must have in common: the hash of all that happened, and how many steps it took.
type Fingerprint struct {
	Seed, Hash, Steps uint64
}

// Fingerprint returns that of a run.
func (r *Result) Fingerprint() Fingerprint { return Fingerprint{r.Options.Seed, r.Hash, r.Steps} }

// String returns the fingerprint in a line, as ParseFingerprint reads it.
func (f Fingerprint) String() string { return fmt.Sprintf("%d %016x %d", f.Seed, f.Hash, f.Steps) }

// ParseFingerprint reads what String has written.
func ParseFingerprint(line string) (f Fingerprint, err error) {
	if _, err = fmt.Sscanf(line, "%d %x %d", &f.Seed, &f.Hash, &f.Steps); err != nil {
		return Fingerprint{}, fmt.Errorf("%q is no fingerprint of a run: %w", line, err)
	}
	return f, nil
}

// SortFingerprints puts them in the order of their seeds.
func SortFingerprints(all []Fingerprint) {
	slices.SortFunc(all, func(a, b Fingerprint) int {
		switch {
		case a.Seed < b.Seed:
			return -1
		case a.Seed > b.Seed:
			return 1
		}
		return 0
	})
}

// Differences compares the runs of some seeds with other runs of the same seeds, and returns a sentence for each seed whose runs
// differ, or of which one is missing. Both are sorted.
func Differences(first, second []Fingerprint) []string {
	var told []string
	for len(first) > 0 || len(second) > 0 {
		switch {
		case len(second) == 0 || len(first) > 0 && first[0].Seed < second[0].Seed:
			told = append(told, fmt.Sprintf("seed %d was run once only", first[0].Seed))
			first = first[1:]
			continue
		case len(first) == 0 || second[0].Seed < first[0].Seed:
			told = append(told, fmt.Sprintf("seed %d was run once only", second[0].Seed))
			second = second[1:]
			continue
		}
		if a, b := first[0], second[0]; a != b {
			told = append(told, fmt.Sprintf("seed %d: %d steps with trace hash %016x, then %d steps with trace hash %016x",
				a.Seed, a.Steps, a.Hash, b.Steps, b.Hash))
		}
		first, second = first[1:], second[1:]
	}
	return told
}
