// Package etcdflags knows etcd's start-up flags, and which of them mean something to this server.
//
// Each flag is in one of three classes, and a test checks that every flag which etcd has is in one:
//
//	Works    it does here what it does in etcd.
//	Tuning   it is accepted, because leaving it undone endangers nothing; one line in the log says why it is not needed.
//	Refused  it is about security, durability or topology, and does not work yet: only values that ask for what
//	         holds anyway are accepted (--auto-tls=false); any other one refuses the start, and nothing is a silent no-op.
//
// Values come from the command line, from ETCD_ variables of the environment where the command line does not
// have them, or, instead of both, from a YAML file.
package etcdflags

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Class says what becomes of a flag.
type Class uint8

const (
	Works Class = iota
	Tuning
	Refused
)

// Kind is how a flag's value is written.
type Kind uint8

const (
	String   Kind = iota
	List          // separated by commas; in a file also a YAML list
	Bool          // true or false
	Count         // a whole number that is not negative
	Number        // a whole number
	Duration      // 1s, 10m; in a file also nanoseconds, as etcd has it
	Rate          // bytes a second: 64MiB, 500KiB, 1048576; or unlimited
)

// Flag is one row of the table.
type Flag struct {
	Name    string
	Class   Class
	Kind    Kind
	Default string
	// Help says what the flag does; of a Tuning flag, why it is not needed; of a Refused one, why it does
	// not work and what to do instead.
	Help string
	// Missing marks a Tuning flag whose effect somebody might wait for: its line in the log is a warning.
	Missing bool
	// Accept lists the values of a Refused flag that ask for what holds anyway. The default is always one of them.
	Accept []string
	// Choices lists the values that a flag may have; empty where the kind alone decides.
	Choices []string
	// Former lists earlier names (the experimental- spellings).
	Former []string
}

// Section is a part of the table, as the help prints it.
type Section struct {
	Title string
	Flags []Flag
}

// Sections returns the table.
func Sections() []Section {
	return []Section{member, cluster, security, operations, ours, testingOnly}
}

// Table returns all flags of all sections.
func Table() []Flag {
	var all []Flag
	for _, section := range Sections() {
		all = append(all, section.Flags...)
	}
	return all
}

// Variable returns the name that a flag has in the environment.
func Variable(flag string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// check says what is wrong with a value, or nil.
func (f *Flag) check(value string) error {
	if err := f.Kind.check(value); err != nil {
		return err
	}
	if len(f.Choices) > 0 && !slices.Contains(f.Choices, value) {
		return fmt.Errorf("it must be one of %s", strings.Join(f.Choices, ", "))
	}
	return nil
}

// accepts reports whether a Refused flag's value asks only for what holds anyway.
func (f *Flag) accepts(value string) bool {
	return value == f.Default || slices.Contains(f.Accept, value)
}

func (k Kind) check(value string) error {
	var err error
	switch k {
	case Bool:
		if _, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("it must be true or false")
		}
	case Count:
		if _, err = strconv.ParseUint(value, 10, 64); err != nil {
			return fmt.Errorf("it must be a whole number, 0 or more")
		}
	case Number:
		if _, err = strconv.ParseInt(value, 10, 64); err != nil {
			return fmt.Errorf("it must be a whole number")
		}
	case Rate:
		if _, err = parseRate(value); err != nil {
			return err
		}
	case Duration:
		if d, err := time.ParseDuration(value); err != nil || d < 0 {
			return fmt.Errorf("it must be a duration such as 5s or 10m")
		}
	}
	return nil
}
