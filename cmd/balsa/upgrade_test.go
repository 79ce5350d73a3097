package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/cluster"
)

// firstLevelCommit is the last one whose build knows of no levels: N-1 of this one.
const firstLevelCommit = "07d55b7"

// buildBefore builds balsa as it was at a commit of this repository, and skips the test where that is not at hand.
func buildBefore(t *testing.T, commit string) string {
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "source"), filepath.Join(dir, "balsa-"+commit)
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("sh", "-c", "git -C ../.. archive "+commit+" | tar -x -C "+source+" && test -f "+source+"/go.mod").CombinedOutput(); err != nil {
		t.Skipf("commit %s is not at hand, as in a shallow clone, so that there is no older build to upgrade from: %v %s", commit, err, output)
	}
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/balsa")
	// Without paths the build cache knows it again: only the first build of a commit takes long.
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building commit %s: %v\n%s", commit, err, output)
	}
	return binary
}

// upgrade is a cluster whose members are of two builds, under load.
type upgrade struct {
	t        *testing.T
	c        *cluster.Cluster
	old      string
	mu       sync.Mutex
	acked    []string // keys whose put was acknowledged
	unknowns int
}

// write puts new keys at all members in turn until the context ends, each once.
func (u *upgrade) write(ctx context.Context, worker int) {
	client, err := clientv3.New(clientv3.Config{Endpoints: u.c.Endpoints()})
	if err != nil {
		u.t.Error(err)
		return
	}
	defer client.Close()
	value := strings.Repeat("v", 1000)
	for i := 0; ctx.Err() == nil; i++ {
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		key := fmt.Sprintf("w%d/%06d", worker, i)
		_, err := client.Put(one, key, key+value)
		cancel()
		u.mu.Lock()
		if err == nil {
			u.acked = append(u.acked, key)
		} else {
			u.unknowns++
		}
		u.mu.Unlock()
	}
}

func (u *upgrade) written() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.acked)
}

// awaitWrites waits until so many more writes were acknowledged.
func (u *upgrade) awaitWrites(more int) {
	u.t.Helper()
	from := u.written()
	u.await(fmt.Sprintf("%d more writes", more), func() bool { return u.written() >= from+more })
}

func (u *upgrade) await(what string, done func() bool) {
	u.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); {
		if time.Now().After(end) {
			u.t.Fatalf("not within two minutes: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (u *upgrade) status(m *cluster.Member) *memberStatus {
	ctx, cancel := context.WithTimeout(u.t.Context(), 5*time.Second)
	defer cancel()
	s, err := getStatus(ctx, http.DefaultClient, "http://"+m.Endpoint+statusPath)
	if err != nil {
		return nil
	}
	return s
}

// start starts a member with a build, and waits until it has caught up with what was committed then.
func (u *upgrade) start(m *cluster.Member, binary string) {
	u.t.Helper()
	m.SetBinary(binary)
	if err := m.Restart(u.t.Context()); err != nil {
		u.t.Fatal(err)
	}
	target := uint64(0)
	for _, other := range u.c.Members {
		if s := u.status(other); s != nil {
			target = max(target, s.Commit)
		}
	}
	u.await(m.Name+" catches up", func() bool { s := u.status(m); return s != nil && s.Ready && s.Applied >= target })
}

// stop stops a member, and waits for so many writes that its log does not reach to the others' any more.
func (u *upgrade) stop(m *cluster.Member) {
	u.t.Helper()
	if err := m.Terminate(u.t.Context()); err != nil {
		u.t.Fatal(err)
	}
	u.awaitWrites(150) // of 1 KB, where the log is cut every 16 KiB
}

// lead makes a member the leader.
func (u *upgrade) lead(m *cluster.Member) {
	u.t.Helper()
	u.await(m.Name+" leads", func() bool {
		s := u.status(m)
		if s == nil || s.Role == "leader" {
			return s != nil
		}
		for _, other := range u.c.Members {
			if leader := u.status(other); leader != nil && leader.Role == "leader" {
				ctlRun(u.t, other.Endpoint, "move-leader", s.Member)
			}
		}
		return false
	})
}

// ctlRun runs etcdctl and does not care for the outcome: who asks looks again.
func ctlRun(t *testing.T, endpoint string, args ...string) {
	_ = runToEnd(t, program(t, "balsa", append([]string{"ctl", "--endpoints=" + endpoint}, args...)...))
}

func (u *upgrade) levels(want balsa.Level, who ...*cluster.Member) {
	u.t.Helper()
	for _, m := range who {
		u.await(fmt.Sprintf("%s is at level %d", m.Name, want), func() bool { s := u.status(m); return s != nil && s.Level == uint16(want) })
	}
}

var upgradeLong = flag.Bool("upgrade-long", false, "TestRollingUpgrade also goes back once before the level rises")

// TestRollingUpgrade replaces the members of a cluster of the build before, one after the other, under load: with leaders and snapshots on
// both sides, and in its long version (-upgrade-long) once back again. No acknowledged write is lost, the states are equal, and the level rises when the last member is
// upgraded and not before; from then on the older build is refused, with a sentence.
func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another version")
	}
	u := &upgrade{t: t, old: buildBefore(t, firstLevelCommit)}
	u.c = startClusterOf(t, u.old, 3, "--testing-log-segment-bytes=16384")
	a, b, c := u.c.Members[0], u.c.Members[1], u.c.Members[2]
	ctx, stopWriting := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for worker := range 4 {
		writers.Go(func() { u.write(ctx, worker) })
	}
	defer writers.Wait()
	defer stopWriting()
	u.awaitWrites(100)

	u.lead(b)
	u.stop(a)
	u.start(a, os.Args[0]) // its directory was written by the old build, and its snapshot comes from it
	u.levels(1, a)
	u.lead(a)
	u.stop(b)
	u.start(b, u.old) // from a new leader
	if *upgradeLong {
		u.stop(a)
		u.start(a, u.old) // and back
		u.lead(c)
		u.stop(a)
		u.start(a, os.Args[0])
		u.levels(1, a)
		u.lead(c)
	}
	u.stop(b)
	u.start(b, os.Args[0])
	u.levels(1, b)
	u.lead(a)
	u.awaitWrites(50)
	u.levels(1, a, b)
	u.stop(c)
	u.start(c, os.Args[0])
	u.levels(2, a, b, c)
	u.awaitWrites(50)
	stopWriting()
	writers.Wait()
	u.judge()

	if err := c.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.SetBinary(u.old)
	if err := c.Launch(); err != nil {
		t.Fatal(err)
	}
	u.await("the old build is told why it cannot take part", func() bool {
		log, err := os.ReadFile(c.Log)
		text := string(log)
		return err == nil && (strings.Contains(text, "upgrade the older one") || strings.Contains(text, "incompatible features"))
	})
	c.Kill()
	u.start(c, os.Args[0])
	u.judge()
	t.Logf("%d writes were acknowledged, %d were not", u.written(), u.unknowns)
}

// judge compares the members, and looks for every acknowledged write.
func (u *upgrade) judge() {
	u.t.Helper()
	var first *pb.HashKVResponse
	for _, m := range u.c.Members {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.Endpoint}})
		if err != nil {
			u.t.Fatal(err)
		}
		found, err := client.Get(u.t.Context(), "w", clientv3.WithPrefix())
		if err != nil {
			u.t.Fatal(err)
		}
		values := map[string]string{}
		for _, kv := range found.Kvs {
			values[string(kv.Key)] = string(kv.Value)
		}
		for _, key := range u.acked {
			if !strings.HasPrefix(values[key], key) {
				u.t.Errorf("%s: %s was acknowledged and is %.20q", m.Name, key, values[key])
			}
		}
		hash, err := client.HashKV(u.t.Context(), m.Endpoint, found.Header.Revision)
		client.Close()
		if err != nil {
			u.t.Fatal(err)
		}
		if first == nil {
			first = (*pb.HashKVResponse)(hash)
		}
		if hash.Hash != first.Hash {
			u.t.Errorf("%s has hash %d, the first %d", m.Name, hash.Hash, first.Hash)
		}
	}
}

// startClusterOf is startCluster with another build.
func startClusterOf(t *testing.T, binary string, n int, args ...string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), n, cluster.Options{
		Binary: binary, Dir: filepath.Join(t.TempDir(), "cluster"), Env: []string{playVariable + "=1"},
		Args: append([]string{"--heartbeat-interval=50", "--election-timeout=500"}, args...),
	})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, c)
	return c
}
