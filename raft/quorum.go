package raft

// majority returns how many of n voters are one.
func majority(n int) int { return n/2 + 1 }

// reachedByMajority returns the largest value that a majority of the voters has reached: of the values in
// descending order, the one at the majority's place. It sorts values, which are few, in place.
func reachedByMajority[V ~uint64 | ~int64](values []V) V {
	for i := 1; i < len(values); i++ {
		for j := i; j > 0 && values[j] > values[j-1]; j-- {
			values[j], values[j-1] = values[j-1], values[j]
		}
	}
	return values[majority(len(values))-1]
}

// agreed returns the largest value that a majority of the voters has reached, in a joint configuration a majority of the former
// voters, too. It allocates nothing for up to 16 voters.
func agreed[V ~uint64 | ~int64](peers []*progress, joint bool, value func(*progress) V) V {
	var few [16]V
	values := few[:0]
	for _, p := range peers {
		if p.voter {
			values = append(values, value(p))
		}
	}
	reached := reachedByMajority(values)
	if !joint {
		return reached
	}
	values = values[:0]
	for _, p := range peers {
		if p.former {
			values = append(values, value(p))
		}
	}
	return min(reached, reachedByMajority(values))
}

// both is the verdict of two majorities that are needed.
func both(a, b verdict) verdict {
	switch {
	case a == lost || b == lost:
		return lost
	case a == won && b == won:
		return won
	}
	return undecided
}

// ballot is one voter's answer in a campaign.
type ballot uint8

const (
	unanswered ballot = iota
	granted
	refused
)

// verdict is how a campaign stands.
type verdict uint8

const (
	undecided verdict = iota
	won
	lost
)

// count decides a campaign: won with a majority of grants, lost once a majority cannot be had any more.
func count(ballots []ballot) verdict {
	grants, refusals := 0, 0
	for _, b := range ballots {
		switch b {
		case granted:
			grants++
		case refused:
			refusals++
		}
	}
	switch need := majority(len(ballots)); {
	case grants >= need:
		return won
	case len(ballots)-refusals < need:
		return lost
	}
	return undecided
}
