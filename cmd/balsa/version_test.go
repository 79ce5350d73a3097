package main

import (
	"strings"
	"testing"
)

// Scripts look for "etcd Version: X.Y.Z" at the beginning of a line.
func TestVersion(t *testing.T) {
	t.Parallel()
	for _, c := range [][]string{{"etcd", "--version"}, {"balsa", "serve", "--version"}, {"balsa", "--version"}, {"balsa", "version"}} {
		o := runToEnd(t, program(t, c[0], c[1:]...))
		if o.code != 0 || !strings.HasPrefix(o.stdout, "etcd Version: 3.7.3\nBalsa Version: ") || o.stderr != "" {
			t.Errorf("%v: exit code %d, %q, %q", c, o.code, o.stdout, o.stderr)
		}
	}
	if o := runToEnd(t, program(t, "etcdctl", "version")); o.code != 0 || !strings.HasPrefix(o.stdout, "etcdctl version: 3.7.3\n") {
		t.Errorf("etcdctl version: %+v", o)
	}
}

// etcdctl's exit codes come through, and its arguments are not looked at on the way.
func TestCtlPassesThrough(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"ctl", "put"}, 128, "put command needs 1 argument"},
		{[]string{"ctl", "--endpoints=127.0.0.1:1", "--command-timeout=100ms", "get", "k"}, 1, "context deadline exceeded"},
		{[]string{"ctl", "--help"}, 0, "etcdctl [command]"},
		{[]string{"ctl", "put", "--help"}, 0, "Puts the given key into the store"},
		{[]string{"ctl", "--version"}, 1, "unknown flag: --version"},
	} {
		o := runToEnd(t, program(t, "balsa", c.args...))
		if o.code != c.code || !strings.Contains(o.stdout+o.stderr, c.want) {
			t.Errorf("%v: exit code %d, want %d\n%s%s", c.args, o.code, c.code, o.stdout, o.stderr)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, c := range [][]string{{"balsa"}, {"balsa", "--help"}, {"balsa", "serve", "--help"}, {"etcd", "-h"}, {"balsa", "demo", "--help"},
		{"balsa", "status", "--help"}, {"balsa", "wal", "dump", "--help"}} {
		if o := runToEnd(t, program(t, c[0], c[1:]...)); o.code != 0 || !strings.Contains(o.stdout, "Usage:") || o.stderr != "" {
			t.Errorf("%v: %+v", c, o)
		}
	}
	if o := runToEnd(t, program(t, "balsa", "frobnicate")); o.code == 0 || !strings.Contains(o.stderr, `unknown command "frobnicate"`) {
		t.Errorf("an unknown command: %+v", o)
	}
}
