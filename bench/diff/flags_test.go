package diff

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/bench/servers"
	"github.com/balsadb/balsa/internal/etcdflags"
)

// TestEveryFlagOfTheReferenceIsKnown compares our table of flags with what the reference binary lists in its help: names,
// and defaults of those that work here.
func TestEveryFlagOfTheReferenceIsKnown(t *testing.T) {
	binary := *etcdBin
	if binary == "" {
		var err error
		if binary, err = servers.Build(t.Context(), servers.Etcd); err != nil {
			t.Fatal(err)
		}
	}
	help, err := exec.CommandContext(t.Context(), binary, "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	ours := map[string]etcdflags.Flag{}
	for _, flag := range etcdflags.Table() {
		ours[flag.Name] = flag
		for _, former := range flag.Former {
			ours[former] = flag
		}
	}
	listed := regexp.MustCompile(`(?m)^  --([a-z0-9-]+)(?: '([^']*)')?`).FindAllStringSubmatch(string(help), -1)
	if len(listed) < 100 {
		t.Fatalf("only %d flags were found in the help:\n%s", len(listed), help)
	}
	for _, match := range listed {
		name, theirs := match[1], match[2]
		flag, known := ours[name]
		switch {
		case !known:
			t.Errorf("--%s is in no class", name)
		case flag.Class == etcdflags.Works && strings.Contains(match[0], "'") && !sameDefault(flag, theirs):
			t.Errorf("--%s is %q by default in etcd, and %q here", name, theirs, flag.Default)
		}
	}
}

// sameDefault knows that the help writes some defaults in another way, and some as what they come to.
func sameDefault(flag etcdflags.Flag, theirs string) bool {
	comesTo := map[string]string{
		"initial-cluster":        "default=http://localhost:2380", // of the defaults for name and initial-advertise-peer-urls
		"max-concurrent-streams": "math.MaxUint32",
		"data-dir":               "${name}.etcd",
	}
	if flag.Default == theirs || comesTo[flag.Name] == theirs || theirs == "" {
		return true
	}
	if flag.Kind == etcdflags.Duration {
		ours, err1 := time.ParseDuration(flag.Default)
		other, err2 := time.ParseDuration(theirs)
		return err1 == nil && err2 == nil && ours == other
	}
	return flag.Default == "" && (theirs == "none" || theirs == "0" || theirs == "false")
}
