package etcdflags

import (
	"fmt"
	"io"
)

// WriteHelp prints the flags that work, section by section, then the names of the others.
func WriteHelp(w io.Writer) {
	for _, section := range Sections() {
		fmt.Fprintf(w, "\n%s:\n", section.Title)
		for _, f := range section.Flags {
			if f.Class != Works {
				continue
			}
			fmt.Fprintf(w, "  --%s", f.Name)
			if f.Default != "" {
				fmt.Fprintf(w, " (default %s)", f.Default)
			}
			fmt.Fprintf(w, "\n        %s\n", f.Help)
		}
	}
	writeNames(w, Tuning, "Accepted and not needed here; the log says why")
	writeNames(w, Refused, "Refused unless they ask for what holds anyway; the error says why, and what to do instead")
	fmt.Fprint(w, "\nEach flag is also a variable of the environment (--data-dir is ETCD_DATA_DIR), which the flag overrides.\n")
}

func writeNames(w io.Writer, class Class, title string) {
	fmt.Fprintf(w, "\n%s:\n ", title)
	column := 1
	for _, f := range Table() {
		if f.Class != class {
			continue
		}
		word := " --" + f.Name
		if column+len(word) > 100 {
			fmt.Fprintf(w, "\n ")
			column = 1
		}
		fmt.Fprint(w, word)
		column += len(word)
	}
	fmt.Fprintln(w)
}
