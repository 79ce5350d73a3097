package etcdflags

// nearest returns the flag whose name is at most three edits from name, or "".
func nearest(name string) string {
	best, distance := "", 4
	for _, f := range Table() {
		if d := edits(name, f.Name); d < distance {
			best, distance = f.Name, d
		}
	}
	return best
}

// edits counts the insertions, deletions and replacements between two words (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
