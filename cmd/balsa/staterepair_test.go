package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/cluster"
)

// repairPatience is how long a repair may take on a busy machine; it takes a moment on an idle one.
const repairPatience = 2 * time.Minute

// TestDamagedStateIsRebuilt stops a follower and then the leader, flips a bit in the middle of each table of its state, and starts it again:
// it keeps its log, gets another state from its leader, and serves what the others serve. Nobody did anything.
func TestDamagedStateIsRebuilt(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, cluster.Options{Args: []string{"--testing-log-segment-bytes=16384", "--heartbeat-interval=50", "--election-timeout=500"}})
	client := dial(t, c.Endpoints()...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*repairPatience)
	defer cancel()
	written := fillKeys(ctx, t, client, 0, 300)
	for _, leads := range []bool{false, true} {
		m := memberThat(ctx, t, c, leads)
		m.Kill()
		written = fillKeys(ctx, t, client, written, 20)
		flipTables(t, m.Dir)
		if err := m.Launch(); err != nil {
			t.Fatal(err)
		}
		awaitSound(ctx, t, m)
		log, err := os.ReadFile(m.Log)
		if err != nil || !strings.Contains(string(log), "this member has a state again") {
			t.Fatalf("the member did not get another state: %v\n%s", err, tail(string(log), 4000))
		}
		compare(ctx, t, c, written)
	}
}

// TestDamageFoundWhileRunning flips bits of the tables that a member has written and not read yet, while it runs: no read is answered
// with less than there is, and the member gets another state without a restart, and ends without an error when asked to.
func TestDamageFoundWhileRunning(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, cluster.Options{Args: []string{"--testing-log-segment-bytes=16384", "--heartbeat-interval=50", "--election-timeout=500"}})
	client := dial(t, c.Endpoints()...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*repairPatience)
	defer cancel()
	written := fillKeys(ctx, t, client, 0, 300)
	m := memberThat(ctx, t, c, false)
	flipTables(t, m.Dir)
	own := dial(t, m.Endpoint)
	for rebuilt := false; !rebuilt; {
		got, err := own.Get(ctx, "key", clientv3.WithPrefix(), clientv3.WithSerializable()) // the client asks again where it was refused
		if err == nil && len(got.Kvs) != written {
			t.Fatalf("it answers %d of %d keys", len(got.Kvs), written)
		}
		if ctx.Err() != nil || !m.Running() {
			t.Fatalf("no read had the state rebuilt; the last one: %v; it runs: %v", err, m.Running())
		}
		log, err := os.ReadFile(m.Log)
		rebuilt = err == nil && strings.Contains(string(log), "this member has a state again")
	}
	compare(ctx, t, c, written)
	awaitSound(ctx, t, m)
	if err := m.Terminate(ctx); err != nil {
		t.Error(err)
	}
}

// fillKeys puts keys, with values of their own.
func fillKeys(ctx context.Context, t *testing.T, client *clientv3.Client, from, count int) int {
	t.Helper()
	for i := from; i < from+count; i++ {
		for {
			_, err := client.Put(ctx, fmt.Sprintf("key%05d", i), fmt.Sprint(i, strings.Repeat("x", 500)))
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	return from + count
}

// memberThat returns a running member that leads, or one that does not.
func memberThat(ctx context.Context, t *testing.T, c *cluster.Cluster, leads bool) *cluster.Member {
	t.Helper()
	for ctx.Err() == nil {
		for _, m := range c.Members {
			if s, err := statusOf(ctx, m); err == nil && s.Leader != "" && (s.Role == "leader") == leads {
				return m
			}
		}
		pauseBetweenLooks(ctx)
	}
	t.Fatal("there is no leader")
	return nil
}

func pauseBetweenLooks(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}

func statusOf(ctx context.Context, m *cluster.Member) (s memberStatus, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Endpoint+statusPath, nil)
	if err != nil {
		return s, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// awaitSound returns once a member has caught up and complains of nothing.
func awaitSound(ctx context.Context, t *testing.T, m *cluster.Member) {
	t.Helper()
	var s memberStatus
	var err error
	for ctx.Err() == nil {
		if s, err = statusOf(ctx, m); err == nil && s.Ready && s.Fault == "" && len(s.Troubles) == 0 && s.Leader != "" {
			return
		}
		pauseBetweenLooks(ctx)
	}
	t.Fatalf("the member does not become sound: %+v, %v", s, err)
}

// flipTables changes a bit in the middle of each of a member's tables.
func flipTables(t *testing.T, dataDir string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dataDir, "state", "*", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("%s has no tables: %v", dataDir, err)
	}
	for _, name := range tables {
		about, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a running member has compacted it away
		}
		if err != nil {
			t.Fatal(err)
		}
		if about.Size() > 0 { // the last one may have been begun when the member was killed
			flipBit(t, name, about.Size()/3*8)
		}
	}
}

// flipBit changes one bit of a file.
func flipBit(t *testing.T, name string, bit int64) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var one [1]byte
	if _, err := file.ReadAt(one[:], bit/8); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1 << (bit % 8)
	if _, err := file.WriteAt(one[:], bit/8); err != nil {
		t.Fatal(err)
	}
}

// compare reads everything from each member, as it has it, and compares it with what was written.
func compare(ctx context.Context, t *testing.T, c *cluster.Cluster, written int) {
	t.Helper()
	var first uint32
	for i, m := range c.Members {
		client := dial(t, m.Endpoint)
		got, err := readAll(ctx, client)
		for err != nil && ctx.Err() == nil { // a read that meets damage says so, and is answered once that is repaired
			pauseBetweenLooks(ctx)
			got, err = readAll(ctx, client)
		}
		if err != nil {
			t.Fatalf("%s answers no read: %v", m.Name, err)
		}
		if len(got.Kvs) != written {
			t.Fatalf("%s has %d of %d keys", m.Name, len(got.Kvs), written)
		}
		for n, kv := range got.Kvs {
			if string(kv.Key) != fmt.Sprintf("key%05d", n) || !strings.HasPrefix(string(kv.Value), fmt.Sprint(n, "x")) {
				t.Fatalf("%s answers %s = %.20s", m.Name, kv.Key, kv.Value)
			}
		}
		hash, err := client.HashKV(ctx, m.Endpoint, got.Header.Revision)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = hash.Hash
		} else if hash.Hash != first {
			t.Errorf("%s has the hash %x, the first member %x", m.Name, hash.Hash, first)
		}
	}
}

// readAll reads all keys of a member's own state, once that has everything.
func readAll(ctx context.Context, client *clientv3.Client) (*clientv3.GetResponse, error) {
	if _, err := client.Get(ctx, "barrier"); err != nil {
		return nil, err
	}
	return client.Get(ctx, "key", clientv3.WithPrefix(), clientv3.WithSerializable())
}
