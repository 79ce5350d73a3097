package etcdflags

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Source says where a value came from.
type Source uint8

const (
	Default Source = iota
	Environment
	CommandLine
	File
)

// Settings holds a value for every flag of the table.
type Settings struct {
	values map[string]string
	source map[string]Source
	// Notices are what the log should say about the way that the settings were given, in order.
	Notices []Notice
}

// Notice is one line for the log.
type Notice struct {
	Warning bool
	Flag    string
	Text    string
}

// String returns a flag's value.
func (s *Settings) String(name string) string {
	value, ok := s.values[name]
	if !ok {
		panic("etcdflags: no flag named " + name + " in the table")
	}
	return value
}

// Given reports whether a flag was given at all, rather than left at its default.
func (s *Settings) Given(name string) bool { return s.source[name] != Default }

// Bool returns the value of a flag of kind Bool.
func (s *Settings) Bool(name string) bool {
	value, _ := strconv.ParseBool(s.String(name)) // checked when it was set
	return value
}

// Count returns the value of a flag of kind Count.
func (s *Settings) Count(name string) uint64 {
	value, _ := strconv.ParseUint(s.String(name), 10, 64) // checked when it was set
	return value
}

// Number returns the value of a flag of kind Number.
func (s *Settings) Number(name string) int64 {
	value, _ := strconv.ParseInt(s.String(name), 10, 64) // checked when it was set
	return value
}

// Milliseconds returns the value of a Count flag that is in milliseconds.
func (s *Settings) Milliseconds(name string) time.Duration {
	return time.Duration(min(s.Count(name), uint64(time.Hour/time.Millisecond))) * time.Millisecond
}

// Duration returns the value of a flag of kind Duration.
func (s *Settings) Duration(name string) time.Duration {
	value, _ := time.ParseDuration(s.String(name)) // checked when it was set
	return value
}

// List returns the parts of a flag of kind List, without empty ones.
func (s *Settings) List(name string) []string {
	parts := strings.Split(s.String(name), ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return slices.DeleteFunc(parts, func(part string) bool { return part == "" })
}

func (s *Settings) notice(warning bool, flag, text string) {
	s.Notices = append(s.Notices, Notice{warning, flag, text})
}
