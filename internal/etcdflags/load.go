package etcdflags

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ErrHelp is returned by Load where the command line asks for help.
var ErrHelp = flag.ErrHelp

// ErrVersion is returned by Load where the command line asks for the version.
var ErrVersion = errors.New("the version was asked for")

// Load reads the settings of one start: from the file that --config-file names, or else from the command
// line and the environment (as NAME=VALUE). readFile reads the file. An error is one sentence for the operator.
func Load(args, environ []string, readFile func(name string) ([]byte, error)) (*Settings, error) {
	given, err := parseArgs(args)
	if err != nil {
		return nil, err
	}
	variables, unknown := parseEnvironment(environ)
	file := given["config-file"].value
	if file == "" {
		file = variables["config-file"].value
	}
	s := defaults()
	if file != "" {
		err = s.fromFile(file, readFile, given, variables)
	} else {
		for _, name := range unknown {
			s.notice(true, "", fmt.Sprintf("environment variable %s is not one that is known here, and is ignored", name))
		}
		if err = s.set(variables, Environment); err == nil {
			err = s.set(given, CommandLine)
		}
	}
	if err != nil {
		return nil, err
	}
	return s, s.classify()
}

// setting is a value under the name that it was given by, for messages.
type setting struct{ value, spelling string }

func defaults() *Settings {
	s := &Settings{values: map[string]string{}, source: map[string]Source{}}
	for _, f := range Table() {
		s.values[f.Name] = f.Default
	}
	return s
}

func (s *Settings) set(given map[string]setting, source Source) error {
	for _, f := range Table() {
		g, ok := given[f.Name]
		if !ok {
			continue
		}
		if err := f.check(g.value); err != nil {
			return fmt.Errorf("%s=%q: %w", g.spelling, g.value, err)
		}
		s.values[f.Name], s.source[f.Name] = g.value, source
	}
	return nil
}

// classify refuses what must be refused, and notes what is not needed.
func (s *Settings) classify() error {
	for _, f := range Table() {
		value := s.values[f.Name]
		switch {
		case f.Class == Refused && !f.accepts(value):
			return fmt.Errorf("--%s=%s is refused: %s", f.Name, value, f.Help)
		case f.Class == Tuning && s.Given(f.Name):
			missing := f.Missing && value != f.Default
			s.notice(missing, f.Name, fmt.Sprintf("--%s is accepted and has no effect: %s", f.Name, f.Help))
		}
	}
	return nil
}

// flagValue collects what the command line gives for one flag.
type flagValue struct {
	name, spelling string
	bool           bool
	into           map[string]setting
}

func (v *flagValue) String() string   { return "" }
func (v *flagValue) IsBoolFlag() bool { return v.bool }
func (v *flagValue) Set(value string) error {
	v.into[v.name] = setting{value, v.spelling}
	return nil
}

// parseArgs reads a command line by the rules of Go's flag package, as etcd does: one dash or two, --flag=value
// or --flag value, and booleans with = only.
func parseArgs(args []string) (map[string]setting, error) {
	given := map[string]setting{}
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	version := set.Bool("version", false, "")
	for _, f := range Table() {
		for _, name := range append([]string{f.Name}, f.Former...) {
			set.Var(&flagValue{f.Name, "--" + name, f.Kind == Bool, given}, name, "")
		}
	}
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, ErrHelp
	case err != nil:
		return nil, explain(err)
	case *version:
		return nil, ErrVersion
	case set.NArg() > 0:
		return nil, fmt.Errorf("%q is not a flag (a boolean takes its value with an equals sign, as in --pre-vote=true); see balsa serve --help", set.Arg(0))
	}
	return given, nil
}

// explain turns the flag package's words into a sentence that says what to do.
func explain(err error) error {
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		name = strings.TrimLeft(name, "-")
		if near := nearest(name); near != "" {
			return fmt.Errorf("--%s is not a flag; did you mean --%s? See balsa serve --help", name, near)
		}
		return fmt.Errorf("--%s is not a flag; see balsa serve --help", name)
	}
	return fmt.Errorf("%w; see balsa serve --help", err)
}

// parseEnvironment returns what ETCD_ variables set, and the names of those that set nothing. Empty ones count as unset.
func parseEnvironment(environ []string) (given map[string]setting, unknown []string) {
	names := map[string]string{}
	for _, f := range Table() {
		for _, name := range append([]string{f.Name}, f.Former...) {
			names[Variable(name)] = f.Name
		}
	}
	given = map[string]setting{}
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(variable, "ETCD_") || value == "" {
			continue
		}
		if name, ok := names[variable]; ok {
			given[name] = setting{value, variable}
		} else {
			unknown = append(unknown, variable)
		}
	}
	slices.Sort(unknown)
	return given, unknown
}
