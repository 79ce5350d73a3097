package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/balsadb/balsa/internal/cluster"
)

// hashes returns HashKV of each endpoint, as etcdctl prints it, without the endpoints.
func hashes(t *testing.T, endpoints []string, args ...string) []string {
	t.Helper()
	var all []string
	for _, endpoint := range endpoints {
		line := ctlOK(t, endpoint, append([]string{"endpoint", "hashkv"}, args...)...)
		_, rest, _ := strings.Cut(line, ", ")
		all = append(all, strings.TrimSpace(rest))
	}
	return all
}

// A backup of a cluster that serves, made by balsa and by etcdctl, becomes three members of another one: the same keys, the
// same hash, and a revision that no client of the former cluster has seen.
func TestBackupBecomesANewCluster(t *testing.T) {
	t.Parallel()
	former := startCluster(t, 3, cluster.Options{})
	at := strings.Join(former.Endpoints(), ",")
	lease := strings.Fields(ctlOK(t, at, "lease", "grant", "1000"))[1]
	for i := range 30 {
		ctlOK(t, at, "put", fmt.Sprintf("key%02d", i%25), fmt.Sprint("value", i))
	}
	ctlOK(t, at, "put", "--lease="+lease, "leased", "x")
	ctlOK(t, at, "del", "key03")
	ctlOK(t, at, "put", "last", "one")
	dir := t.TempDir()
	file, other := filepath.Join(dir, "x.backup"), filepath.Join(dir, "etcdctl.backup")
	made := runToEnd(t, program(t, "balsa", "backup", file, "--endpoint="+former.Endpoints()[1]))
	if made.code != 0 || !strings.Contains(made.stderr, "at revision 34: 26 keys") {
		t.Fatalf("backup: %+v", made)
	}
	ctlOK(t, former.Endpoints()[2], "snapshot", "save", other)
	piped := runToEnd(t, program(t, "balsa", "backup", "-", "--quiet", "--endpoint="+former.Endpoints()[0]))
	if piped.code != 0 || piped.stderr != "" || len(piped.stdout)%512 != 32 {
		t.Fatalf("backup to standard output: code %d, %s", piped.code, piped.stderr)
	}
	contents, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ctlOK(t, at, "compact", "34")
	want := hashes(t, former.Endpoints(), "--rev=34")
	keys := ctlOK(t, at, "get", "--prefix", "")

	later, err := cluster.New(3, cluster.Options{
		Binary: os.Args[0], Dir: filepath.Join(dir, "later"), Env: []string{playVariable + "=1"},
		Args: []string{"--heartbeat-interval=20", "--election-timeout=200", "--initial-cluster-token=later"},
	})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, later)
	// Members of one cluster come from copies of one backup; the others are as good, and make other clusters.
	restore := func(m *cluster.Member, file string, extra ...string) (clusterID string) {
		cmd := program(t, "balsa", slices.Concat([]string{"restore", file}, restoreArgs(m, "later"), extra)...)
		cmd.Stdin = bytes.NewReader(contents)
		o := runToEnd(t, cmd)
		_, rest, found := strings.Cut(o.stdout, "of the new cluster ")
		if o.code != 0 || !found || !strings.Contains(o.stdout, "its revision is 1000000034 now") && extra == nil {
			t.Fatalf("restore: %+v", o)
		}
		clusterID, _, _ = strings.Cut(rest, ",")
		return clusterID
	}
	ids := map[string]bool{}
	for i, m := range later.Members {
		ids[restore(m, []string{file, file, "-"}[i])] = true
	}
	if len(ids) != 1 {
		t.Errorf("members restored from one backup are of clusters %v", ids)
	}
	aside := "--data-dir=" + filepath.Join(dir, "aside")
	ids[restore(later.Members[0], other, aside+"1")] = true
	ids[restore(later.Members[0], file, aside+"2", "--bump-revision=7")] = true
	if len(ids) != 3 {
		t.Errorf("different backups, and different bumps, make clusters %v", ids)
	}
	for _, m := range later.Members {
		if err := m.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	at = strings.Join(later.Endpoints(), ",")
	if got := ctlOK(t, at, "get", "--prefix", ""); got != keys {
		t.Errorf("keys after the restore:\n%s\nbefore:\n%s", got, keys)
	}
	for _, got := range hashes(t, later.Endpoints()) {
		if hash, _, _ := strings.Cut(want[0], ","); !strings.HasPrefix(got, hash+",") {
			t.Errorf("hash %s after the restore, %s before", got, want[0])
		}
	}
	var put struct {
		Header struct {
			Revision int64 `json:"revision"`
		} `json:"header"`
	}
	if err := json.Unmarshal([]byte(ctlOK(t, at, "put", "new", "x", "-w=json")), &put); err != nil || put.Header.Revision != 1_000_000_035 {
		t.Errorf("the first write has revision %d, %v", put.Header.Revision, err)
	}
	if o := runToEnd(t, program(t, "balsa", "ctl", "--endpoints="+at, "watch", "last", "--rev=34", "-w=json")); !strings.Contains(o.stdout+o.stderr, "compacted") {
		t.Errorf("a watch from before the restore: %+v", o)
	}
	ctlOK(t, at, "lease", "revoke", lease)
	if got := ctlOK(t, at, "get", "leased"); got != "" {
		t.Errorf("a key outlived its lease: %q", got)
	}
}

// restoreArgs are the flags with which a member that is laid out is restored.
func restoreArgs(m *cluster.Member, token string) []string {
	args := []string{"--initial-cluster-token=" + token}
	for _, arg := range m.Args() {
		for _, f := range []string{"--name=", "--data-dir=", "--initial-advertise-peer-urls=", "--initial-cluster="} {
			if strings.HasPrefix(arg, f) {
				args = append(args, arg)
			}
		}
	}
	return args
}

// What is no backup, or a damaged one, is refused with a sentence, and leaves nothing behind.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	flags, endpoint := alone(t, filepath.Join(t.TempDir(), "data"))
	p := serving(t, flags...)
	ctlOK(t, endpoint, "put", "hello", "world")
	whole := runToEnd(t, program(t, "balsa", "backup", "-", "--endpoint="+endpoint)).stdout
	p.terminate()
	bolt := make([]byte, 8192)
	copy(bolt[16:], "\xed\xda\x0c\xed")
	flipped := []byte(whole)
	flipped[len(whole)/2] ^= 1
	for name, c := range map[string]struct {
		file, want string
		args       []string
	}{
		"etcd's":         {string(bolt), "a file that etcd made is restored by etcdutl", nil},
		"cut short":      {whole[:len(whole)-40], "it is cut short", nil},
		"flipped":        {string(flipped), "damaged", nil},
		"not empty":      {whole, "is not empty", []string{"--data-dir=."}},
		"negative":       {whole, "revisions never go back", []string{"--bump-revision=-1"}},
		"without a mark": {whole, "--mark-compacted is required", []string{"--mark-compacted=false"}},
		"not a member":   {whole, "has no member of that name", []string{"--initial-cluster=other=http://127.0.0.1:2380"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(t, "balsa", append([]string{"restore", "x", "--name=m1", "--data-dir=data"}, c.args...)...)
			if err := os.WriteFile(filepath.Join(cmd.Dir, "x"), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			o := runToEnd(t, cmd)
			left, _ := os.ReadDir(cmd.Dir)
			if o.code == 0 || !strings.Contains(o.stderr, c.want) || len(left) != 1 {
				t.Errorf("%+v, and %d files; want %q", o, len(left), c.want)
			}
		})
	}
	cmd := program(t, "balsa", "backup", "x.backup", "--endpoint=127.0.0.1:1")
	if o := runToEnd(t, cmd); o.code != 1 || !strings.Contains(o.stderr, "Unavailable") {
		t.Errorf("a backup of nobody: %+v", o)
	}
	if left, _ := os.ReadDir(cmd.Dir); len(left) != 0 {
		t.Errorf("a failed backup left %v", left)
	}
}

// Verify finds a directory and a backup sound, changes nothing, and names what is damaged.
func TestVerify(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	flags, endpoint := alone(t, dir)
	p := serving(t, flags...)
	for i := range 20 {
		ctlOK(t, endpoint, "put", fmt.Sprint("key", i), strings.Repeat("value", 100))
	}
	file := filepath.Join(t.TempDir(), "x.backup")
	if o := runToEnd(t, program(t, "balsa", "backup", file, "--endpoint="+endpoint)); o.code != 0 {
		t.Fatalf("backup: %+v", o)
	}
	if o := runToEnd(t, program(t, "balsa", "verify", dir)); o.code != 1 || !strings.Contains(o.stderr, "is in use by another process") {
		t.Errorf("verify beside a server: %+v", o)
	}
	p.terminate()

	before := contents(t, dir)
	o := runToEnd(t, program(t, "balsa", "verify", dir))
	if o.code != 0 || !strings.Contains(o.stdout, dir+" is sound") {
		t.Fatalf("verify: %+v", o)
	}
	if after := contents(t, dir); !maps.Equal(before, after) {
		t.Error("verify has changed the directory")
	}
	for _, path := range []string{dir, file} {
		var found verdict
		o := runToEnd(t, program(t, "balsa", "verify", path, "-o=json"))
		if err := json.Unmarshal([]byte(o.stdout), &found); err != nil || o.code != 0 || !found.Sound || found.Revision != 21 || found.Digest == "" {
			t.Errorf("verify %s: %+v, %v", path, o, err)
		}
	}

	// One flipped bit in each of: a table, the log, the backup.
	tables, _ := filepath.Glob(filepath.Join(dir, "state", "0*", "*.sst"))
	logs, _ := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if len(tables) == 0 || len(logs) == 0 {
		t.Fatal("no tables, or no log", tables, logs)
	}
	for path, part := range map[string]string{
		tables[0]: "tables", logs[0]: "log", file: "backup",
	} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// In the middle of what is not zero.
		end := len(bytes.TrimRight(whole, "\x00"))
		flipped := bytes.Clone(whole)
		flipped[end/2] ^= 0x80
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		target := dir
		if part == "backup" {
			target = file
		}
		o := runToEnd(t, program(t, "balsa", "verify", target))
		if o.code != 1 || !strings.Contains(o.stdout, fmt.Sprintf("%-10s DAMAGED", part)) {
			t.Errorf("a flipped bit in %s: %+v", path, o)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if o := runToEnd(t, program(t, "balsa", "verify", dir)); o.code != 0 {
		t.Errorf("verify once all is mended: %+v", o)
	}
}

// contents has every file below a directory, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			var text []byte
			text, err = os.ReadFile(path)
			found[path] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
