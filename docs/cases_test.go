package docs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// cases is how many edge cases there are: E01 to E55.
const cases = 55

var (
	caseNumber = regexp.MustCompile(`E\d\d`)
	ownCases   = regexp.MustCompile(`^Test((?:E\d\d)+)`)
	groupOf    = regexp.MustCompile("^`([a-z/.]+)` ")
)

// checkCases returns what is not so in the table of edge cases and the list of those that have no test: each case is in one of
// them, once; each row names tests of its packages, and commands that run each of them; and a test that has a case's number in its
// name is in that case's row.
func (r *repository) checkCases(page string) (wrong []string) {
	_, page, _ = strings.Cut(page, "## Edge cases")
	table, rest, found := strings.Cut(page, "\nNot there")
	if !found {
		return []string{"it does not say which edge cases are not there"}
	}
	seen := map[string]int{}
	rows := map[string]map[string]bool{} // by case, "package test"
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		number := strings.TrimPrefix(cells[0], "| ")
		if !caseNumber.MatchString(number) {
			continue
		}
		seen[number]++
		if len(cells) != 4 {
			wrong = append(wrong, fmt.Sprintf("%s: a row has four cells, this one has %d", number, len(cells)))
			continue
		}
		tests, problems := r.checkRow(cells[2], cells[3])
		for _, problem := range problems {
			wrong = append(wrong, number+": "+problem)
		}
		rows[number] = tests
	}
	for _, number := range caseNumber.FindAllString(rest, -1) {
		seen[number]++
	}
	for n := 1; n <= cases; n++ {
		switch number := fmt.Sprintf("E%02d", n); seen[number] {
		case 0:
			wrong = append(wrong, number+" has no row, and is not said to be missing")
		case 1:
		default:
			wrong = append(wrong, number+" is told of more than once: a row, or the list of what is not there")
		}
	}
	for dir, names := range r.packages { //balsa:unordered the list is sorted below
		for _, name := range names {
			for _, number := range caseNumber.FindAllString(ownCases.FindString(name), -1) {
				if !rows[number][dir+" "+name] {
					wrong = append(wrong, fmt.Sprintf("%s: its row does not name `%s` `%s`", number, dir, name))
				}
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// checkRow reads the tests of a row, "`package` `Test`, `Test`; `package` ...", and its commands.
func (r *repository) checkRow(cell, commands string) (tests map[string]bool, wrong []string) {
	tests = map[string]bool{}
	var run []command
	for _, code := range inCode.FindAllStringSubmatch(commands, -1) {
		c, is, err := r.parseCommand(code[1])
		if !is || err != nil {
			wrong = append(wrong, fmt.Sprintf("the command %s: %v", code[1], err))
		}
		run = append(run, c)
	}
	for group := range strings.SplitSeq(cell, "; ") {
		head := groupOf.FindStringSubmatch(group)
		if head == nil {
			wrong = append(wrong, "which package is this of: "+group)
			continue
		}
		for _, code := range inCode.FindAllStringSubmatch(group[len(head[0]):], -1) {
			if err := r.has(head[1], code[1]); err != nil {
				wrong = append(wrong, err.Error())
			}
			if !slices.ContainsFunc(run, func(c command) bool { return c.runs(head[1], code[1]) }) {
				wrong = append(wrong, "no command runs "+code[1])
			}
			tests[head[1]+" "+code[1]] = true
		}
	}
	if len(tests) == 0 {
		wrong = append(wrong, "it names no test")
	}
	return tests, wrong
}
