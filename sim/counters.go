package sim

// Counters count what happened, by names that people read in the report.
type Counters map[string]uint64

// add adds others to c.
func (c Counters) add(others Counters) {
	for name, n := range others { //balsa:unordered each is added to its own
		c[name] += n
	}
}

// raise keeps the larger one of each.
func (c Counters) raise(others Counters) {
	for name, n := range others { //balsa:unordered each is compared with its own
		c[name] = max(c[name], n)
	}
}
