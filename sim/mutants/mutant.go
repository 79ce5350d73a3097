package main

import (
	"embed"
	"errors"
	"fmt"
	"path"
	"strings"
)

//go:embed list/*.txt
var listed embed.FS

// mutant is a bug of the kind that protocols like ours have had.
type mutant struct {
	name  string // the file's, without .txt
	file  string // which it changes, from the module's root
	why   string // what it endangers, in a sentence
	quick bool   // it is hunted by go test, too
	// places are what it changes; most change one.
	places []place
}

// place is some whole lines of a source file, which occur in it once, and those that the mutant has there instead.
type place struct {
	file              string // the mutant's, or another one
	original, mutated []string
}

// mutants reads the list, in the order of names.
func mutants() ([]mutant, error) {
	entries, err := listed.ReadDir("list")
	if err != nil {
		return nil, err
	}
	var all []mutant
	for _, entry := range entries {
		text, err := listed.ReadFile(path.Join("list", entry.Name()))
		if err != nil {
			return nil, err
		}
		m, err := parseMutant(strings.TrimSuffix(entry.Name(), ".txt"), string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		all = append(all, m)
	}
	return all, nil
}

// parseMutant reads a mutant: fields, and after an empty line its places, as a diff writes them: "-" before a line of the
// original, "+" before one of the mutant. An empty line divides places, and "@" names the file of one that is not in the mutant's.
func parseMutant(name, text string) (mutant, error) {
	m := mutant{name: name}
	head, body, _ := strings.Cut(text, "\n\n")
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "file":
			m.file = value
		case "why":
			m.why = value
		case "quick":
			m.quick = value == "yes"
		default:
			return m, fmt.Errorf("there is no field %q", key)
		}
	}
	for hunk := range strings.SplitSeq(strings.TrimRight(body, "\n"), "\n\n") {
		p, err := parsePlace(m.file, hunk)
		if err != nil {
			return m, err
		}
		m.places = append(m.places, p)
	}
	if m.file == "" || m.why == "" {
		return m, errors.New("a mutant has a file, and a reason why")
	}
	return m, nil
}

func parsePlace(file, hunk string) (p place, err error) {
	p.file = file
	for line := range strings.SplitSeq(hunk, "\n") {
		switch {
		case strings.HasPrefix(line, "@ "):
			p.file = line[2:]
		case strings.HasPrefix(line, "-"):
			p.original = append(p.original, line[1:])
		case strings.HasPrefix(line, "+"):
			p.mutated = append(p.mutated, line[1:])
		default:
			return p, fmt.Errorf("a line begins with - or +: %q", line)
		}
	}
	if len(p.original) == 0 {
		return p, errors.New("a place has lines of the original, so that it can be found")
	}
	return p, nil
}
