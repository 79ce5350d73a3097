package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is what came of all hunts.
type report struct {
	Commit   string    `json:"commit"`
	First    uint64    `json:"first_seed"`
	Jobs     int       `json:"jobs"`
	Seconds  float64   `json:"seconds"` // for all, jobs at once
	Caught   int       `json:"caught"`
	Survived int       `json:"survived"`
	Mutants  []outcome `json:"mutants"`
}

func (r *report) add(o outcome) {
	r.Mutants = append(r.Mutants, o)
	if o.Caught {
		r.Caught++
	} else {
		r.Survived++
	}
}

// write prints the table for people, as Markdown or as JSON, by the name of the mutants.
func (r *report) write(out io.Writer, format string) error {
	r.sort()
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	case "markdown":
		return r.markdown(out)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MUTANT\tIN\tSEEDS\tSECONDS\tCAUGHT BY")
	for _, o := range r.Mutants {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.1f\t%s\n", o.Name, o.File, o.Seeds, o.Seconds, o.by())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, r.summary())
	return err
}

func (r *report) sort() {
	slices.SortFunc(r.Mutants, func(a, b outcome) int { return strings.Compare(a.Name, b.Name) })
}

// summary says in a sentence what the table is of.
func (r *report) summary() string {
	outside := 0
	for _, o := range r.Mutants {
		if path.Dir(o.File) != "raft" {
			outside++
		}
	}
	commit := ""
	if r.Commit != "" {
		commit = "commit " + r.Commit + ", "
	}
	return fmt.Sprintf("%d mutants, %d of them outside `raft`: %d caught, %d survived. One call (%sseeds from %d on), %.1f minutes with %d at once.",
		len(r.Mutants), outside, r.Caught, r.Survived, commit, r.First, r.Seconds/60, r.Jobs)
}

// The table stands in a page between these lines.
const (
	tableBegins = "<!-- the table of go run ./sim/mutants -->"
	tableEnds   = "<!-- end of the table -->"
)

// rewrite puts the table into a page, in the place of the one that is there.
func (r *report) rewrite(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	page, err := r.insert(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(page), 0o666)
}

func (r *report) insert(page string) (string, error) {
	before, rest, begins := strings.Cut(page, tableBegins+"\n")
	_, after, ends := strings.Cut(rest, tableEnds+"\n")
	if !begins || !ends {
		return "", fmt.Errorf("there is no place for the table: it has no line %q, or behind it none %q", tableBegins, tableEnds)
	}
	var b strings.Builder
	b.WriteString(before + tableBegins + "\n" + r.summary() + "\n\n")
	r.sort()
	if err := r.markdown(&b); err != nil {
		return "", err
	}
	return b.String() + "\n" + tableEnds + "\n" + after, nil
}

func (r *report) markdown(out io.Writer) error {
	fmt.Fprintln(out, "| mutant | in | why it is dangerous | seeds | seconds | caught by |\n|---|---|---|---:|---:|---|")
	for _, o := range r.Mutants {
		if _, err := fmt.Fprintf(out, "| %s | `%s` | %s | %d | %.1f | %s |\n", o.Name, o.File, o.Why, o.Seeds, o.Seconds, o.by()); err != nil {
			return err
		}
	}
	return nil
}

// by says who caught a mutant.
func (o *outcome) by() string {
	switch {
	case o.Caught:
		return o.Invariant
	case o.Error != "":
		return "NOBODY: " + o.Error
	}
	return "NOBODY"
}
