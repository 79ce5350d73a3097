// Package docs holds no code. Its tests compare what the track record says with what there is.
package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// repository is what the pages may speak of.
type repository struct {
	root string
	// packages are the directories with Go files, from the root ("." is the root), each with its tests, fuzz tests and benchmarks.
	packages map[string][]string
}

// openRepository reads all Go files. Those that do not parse are somebody else's problem.
func openRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{root: "..", packages: map[string][]string{}}
	err := filepath.WalkDir(r.root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != r.root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(file) != ".go":
			return nil
		}
		dir, err := filepath.Rel(r.root, filepath.Dir(file))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		r.packages[dir] = append(r.packages[dir], testsOf(file)...)
		return nil
	})
	if err != nil || len(r.packages) < 10 {
		t.Fatalf("%d packages, %v", len(r.packages), err)
	}
	return r
}

// testsOf returns the tests in a file.
func testsOf(file string) (names []string) {
	if !strings.HasSuffix(file, "_test.go") {
		return nil
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	for _, d := range parsed.Decls {
		if f, is := d.(*ast.FuncDecl); is && f.Recv == nil && testName.MatchString(f.Name.Name) {
			names = append(names, f.Name.Name)
		}
	}
	return names
}

var testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*$`)

// anywhere reports whether any package has a test.
func (r *repository) anywhere(name string) bool {
	for _, names := range r.packages { //balsa:unordered the answer is the same
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// has says what is wrong with a test that a page names, perhaps with a subtest, as one of a package.
func (r *repository) has(dir, name string) error {
	top, sub, isSub := strings.Cut(name, "/")
	if !slices.Contains(r.packages[dir], top) {
		return fmt.Errorf("%s has no %s", dir, top)
	}
	if isSub && top == "TestScripts" {
		return r.script(dir, sub)
	}
	return nil
}

// script says whether a scenario is there.
func (r *repository) script(dir, name string) error {
	_, err := os.Stat(filepath.Join(r.root, filepath.FromSlash(dir), "testdata", name+".txt"))
	return err
}

// command is a go command in a page.
type command struct {
	text     string
	packages []string       // that it names
	run      *regexp.Regexp // of its -run, -fuzz or -bench; nil where it has none
	sub      string         // what -run says of subtests
}

// parseCommand understands `cd DIR && go test|run|build ... PACKAGES ... -run PATTERN`. Other commands are not its business.
func (r *repository) parseCommand(text string) (c command, is bool, err error) {
	c.text = text
	dir := "."
	if rest, moved := strings.CutPrefix(text, "cd "); moved {
		dir, text, _ = strings.Cut(rest, " && ")
	}
	words := strings.Fields(text)
	if len(words) < 3 || words[0] != "go" || words[1] != "test" && words[1] != "run" {
		return c, false, nil
	}
	for i, word := range words {
		switch pattern := ""; {
		case word == "." || strings.HasPrefix(word, "./"):
			c.packages = append(c.packages, path.Join(dir, word))
		case i > 0 && (words[i-1] == "-run" || words[i-1] == "-fuzz" || words[i-1] == "-bench"):
			if pattern = strings.Trim(word, "'"); pattern == "xxx" || strings.Contains(pattern, "NAME") {
				continue
			}
			pattern, c.sub, _ = strings.Cut(pattern, "/")
			if c.run, err = regexp.Compile(strings.ReplaceAll(pattern, `\|`, "|")); err != nil {
				return c, true, err
			}
		}
	}
	return c, true, r.checkCommand(c)
}

// checkCommand says what is wrong with a command: a package that is not there, or a pattern that matches nothing.
func (r *repository) checkCommand(c command) error {
	found := c.run == nil
	for _, dir := range c.packages {
		names, is := r.packages[dir]
		if tree, all := strings.CutSuffix(dir, "/..."); all {
			is, names = false, nil
			for other, tests := range r.packages { //balsa:unordered they are only searched
				if other == tree || tree == "." || strings.HasPrefix(other, tree+"/") {
					is, names = true, append(names, tests...)
				}
			}
		}
		if !is {
			return fmt.Errorf("there is no package %s", dir)
		}
		found = found || slices.ContainsFunc(names, c.run.MatchString)
		if c.run != nil && strings.Contains(c.run.String(), "TestScripts") && c.sub != "" {
			if err := r.script(dir, c.sub); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("none of its packages %v has a test that matches %s", c.packages, c.run)
	}
	return nil
}

// runs reports whether a command runs a test of a package.
func (c *command) runs(dir, name string) bool {
	top, sub, _ := strings.Cut(name, "/")
	return slices.Contains(c.packages, dir) && (c.run == nil || c.run.MatchString(top)) && (c.sub == "" || c.sub == sub)
}

// pages returns the text of all pages of the track record, by their names.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := filepath.Glob("track-record/*.md")
	if err != nil || len(names) < 5 {
		t.Fatal(names, err)
	}
	for _, name := range append(names, "track-record.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(text)
	}
	return all
}

var (
	inCode  = regexp.MustCompile("`([^`]+)`")
	scripts = regexp.MustCompile("scripts? (`[a-z0-9_]+`(?:,? (?:and )?`[a-z0-9_]+`)*)")
)

// checkPage returns what a page says that is not so.
func (r *repository) checkPage(text string) (wrong []string) {
	check := func(err error, what string) {
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", what, err))
		}
	}
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if fenced {
			text, _, _ := strings.Cut(line, " #")
			_, _, err := r.parseCommand(strings.TrimSpace(text))
			check(err, line)
			continue
		}
		for _, code := range inCode.FindAllStringSubmatch(line, -1) {
			if _, is, err := r.parseCommand(code[1]); is {
				check(err, code[1])
			} else if top, _, _ := strings.Cut(code[1], "/"); testName.MatchString(top) && !r.anywhere(top) {
				wrong = append(wrong, "nowhere is there a "+top)
			}
		}
		for _, list := range scripts.FindAllStringSubmatch(line, -1) {
			for _, name := range inCode.FindAllStringSubmatch(list[1], -1) {
				check(r.script("raft", name[1]), "script "+name[1])
			}
		}
	}
	return wrong
}

// TestTrackRecord: what the pages name is there.
func TestTrackRecord(t *testing.T) {
	r := openRepository(t)
	all := pages(t)
	for name, text := range all { //balsa:unordered each is judged by itself
		for _, wrong := range r.checkPage(text) {
			t.Errorf("docs/%s: %s", name, wrong)
		}
	}
	for _, wrong := range r.checkCases(all["track-record.md"]) {
		t.Errorf("docs/track-record.md: %s", wrong)
	}
}

// TestWrongPagesAreNoticed changes one thing at a time in a page that is right.
func TestWrongPagesAreNoticed(t *testing.T) {
	r := &repository{root: "..", packages: map[string][]string{
		"raft": {"TestE01One", "TestE01E02Both", "TestScripts"}, "wal": {"TestLog"}, ".": nil, "bench/diff": {"TestDiff"},
	}}
	var b strings.Builder
	b.WriteString("## Edge cases\n| case | what | tests | commands |\n|---|---|---|---|\n" +
		"| E01 | a | `raft` `TestE01One`, `TestE01E02Both`; `wal` `TestLog` | `go test ./raft -run TestE01`<br>`go test ./wal` |\n" +
		"| E02 | b | `raft` `TestE01E02Both`, `TestScripts/figure_8` | `go test ./raft -run E02`<br>`go test ./raft -run TestScripts/figure_8` |\n\nNot there: ")
	for n := 3; n <= cases; n++ {
		fmt.Fprintf(&b, "E%02d ", n)
	}
	right := b.String() + "\n`cd bench && go test ./diff -run TestDiff` `TestLog` script `figure_8`\n```\ngo test ./wal # all\n```\n"
	if wrong := append(r.checkPage(right), r.checkCases(right)...); wrong != nil {
		t.Fatalf("what is right is not: %q", wrong)
	}
	for _, change := range [][3]string{
		{"`TestLog` script", "`TestLogs` script", "nowhere is there a TestLogs"},
		{"script `figure_8`", "script `figure_9`", "script figure_9"},
		{"go test ./wal #", "go test ./wall #", "no package wall"},
		{"cd bench &&", "cd benches &&", "no package benches/diff"},
		{"-run TestDiff", "-run TestOther", "matches TestOther"},
		{"TestScripts/figure_8` |", "TestScripts/figure_9` |", "figure_9"},
		{"`wal` `TestLog` |", "`wal` `TestLag` |", "wal has no TestLag"},
		{"<br>`go test ./wal` |", " |", "no command runs TestLog"},
		{"`TestE01One`, ", "", "E01: its row does not name `raft` `TestE01One`"},
		{"| E02 |", "| E03 |", "E02 has no row"},
		{"Not there: E03", "Not there: ", "E03 has no row"},
		{"Not there: ", "Not there: E02 ", "E02 is told of more than once"},
		{"Not there", "Where", "does not say which"},
		{"| `raft` `TestE01E02Both`, `TestScripts/figure_8` |", "| nothing |", "it names no test"},
		{"; `wal` `TestLog`", "; `TestLog`", "which package is this of"},
	} {
		page := strings.Replace(right, change[0], change[1], 1)
		wrong := strings.Join(append(r.checkPage(page), r.checkCases(page)...), "\n")
		if page == right || !strings.Contains(wrong, change[2]) {
			t.Errorf("%q in the place of %q: noticed is %q", change[1], change[0], wrong)
		}
	}
}
