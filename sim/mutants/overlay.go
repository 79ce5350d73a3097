package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// switchVariable is the environment variable that says which mutant lives; none does where it is empty.
const switchVariable = "BALSA_MUTANT"

// switchFile is added to each package that has mutants.
const switchFile = "mutant_switch.go"

// source is one file of ours while mutants are planted in it.
type source struct {
	lines  []string
	places map[int]*planted // by the number of their first line
}

// planted is a place with all mutants that change it.
type planted struct {
	original []string
	mutants  []string
	mutated  [][]string
}

// compose returns the text of each file that the mutants change, by its path from root.
func compose(root string, all []mutant) (map[string][]byte, error) {
	sources := map[string]*source{}
	for _, m := range all {
		for _, p := range m.places {
			s := sources[p.file]
			if s == nil {
				text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(p.file)))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", m.name, err)
				}
				s = &source{lines: strings.Split(string(text), "\n"), places: map[int]*planted{}}
				sources[p.file] = s
			}
			if err := s.plant(m.name, p); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", m.name, p.file, err)
			}
		}
	}
	files := map[string][]byte{}
	for file, s := range sources {
		text, err := s.text()
		if err == nil {
			err = addSwitch(files, file, text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		files[file] = text
	}
	return files, nil
}

// plant finds the place of a mutant in the source.
func (s *source) plant(name string, p place) error {
	at := -1
	for i := 0; i+len(p.original) <= len(s.lines); i++ {
		if !slices.Equal(s.lines[i:i+len(p.original)], p.original) {
			continue
		}
		if at >= 0 {
			return fmt.Errorf("lines %d and %d both begin what it changes: %q", at+1, i+1, strings.Join(p.original, "\n"))
		}
		at = i
	}
	if at < 0 {
		return fmt.Errorf("what it changes is not there any more: %q", strings.Join(p.original, "\n"))
	}
	for from, other := range s.places {
		if from == at && len(other.original) == len(p.original) {
			other.mutants, other.mutated = append(other.mutants, name), append(other.mutated, p.mutated)
			return nil
		}
		if from < at+len(p.original) && at < from+len(other.original) {
			return fmt.Errorf("it shares some of its lines with %s: the two must change the same ones", other.mutants[0])
		}
	}
	s.places[at] = &planted{p.original, []string{name}, [][]string{p.mutated}}
	return nil
}

// text is the source with its mutants.
func (s *source) text() ([]byte, error) {
	var b bytes.Buffer
	next := 0
	write := func(lines []string) {
		for _, line := range lines {
			b.WriteString(line + "\n")
		}
	}
	for _, at := range slices.Sorted(maps.Keys(s.places)) {
		p := s.places[at]
		write(s.lines[next:at])
		for i, name := range p.mutants {
			fmt.Fprintf(&b, "if plantedMutant == %q {\n", name)
			write(p.mutated[i])
			b.WriteString("} else ")
		}
		b.WriteString("{\n")
		write(p.original)
		b.WriteString("}\n")
		next = at + len(p.original)
	}
	b.WriteString(strings.Join(s.lines[next:], "\n"))
	_, err := parser.ParseFile(token.NewFileSet(), "", b.Bytes(), 0)
	return b.Bytes(), err
}

// addSwitch adds the file that knows which mutant lives to the package of a source.
func addSwitch(files map[string][]byte, file string, text []byte) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.PackageClauseOnly)
	if err != nil {
		return err
	}
	name := filepath.ToSlash(filepath.Join(filepath.Dir(filepath.FromSlash(file)), switchFile))
	files[name] = fmt.Appendf(nil, "package %s\n\nimport \"os\"\n\nvar plantedMutant = os.Getenv(%q)\n", parsed.Name.Name, switchVariable)
	return nil
}

// writeOverlay writes the files into a directory, with the list that the compiler is given, and returns that one's path.
func writeOverlay(root, dir string, files map[string][]byte) (string, error) {
	replace := map[string]string{}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		copied := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(copied, files[file], 0o666); err != nil {
			return "", err
		}
		replace[filepath.Join(root, filepath.FromSlash(file))] = copied
	}
	text, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "\t")
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o666)
}
