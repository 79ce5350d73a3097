package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is what came of all hunts.
type report struct {
	First    uint64    `json:"first_seed"`
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
	slices.SortFunc(r.Mutants, func(a, b outcome) int { return strings.Compare(a.Name, b.Name) })
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
	_, err := fmt.Fprintf(out, "%d mutants, %d caught, %d survived, seeds from %d on\n", len(r.Mutants), r.Caught, r.Survived, r.First)
	return err
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
