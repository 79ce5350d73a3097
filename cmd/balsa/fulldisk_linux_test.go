package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/cluster"
)

// TestE46OneFullDiskAmongThree fills one member's disk, a small one, under writes. The others go on; the member never serves anything wrong,
// and once there is space it has, without a start, all that was acknowledged.
func TestE46OneFullDiskAmongThree(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := startCluster(t, 3, cluster.Options{Args: []string{"--testing-log-segment-bytes=1048576", "--disk-reserve-bytes=4194304"}})
	m := c.Members[2]
	moveToSmallDisk(t, ctx, m, "48m")
	clients := make([]*clientv3.Client, 3)
	for i := range clients {
		clients[i] = dial(t, c.Members[i].Endpoint)
	}
	filler := filepath.Join(m.Dir, "filler")
	fill(t, filler)
	value := strings.Repeat("x", 64<<10)
	for n := range 200 {
		if _, err := clients[n%2].Put(ctx, fmt.Sprint("key", n%20), value); err != nil {
			t.Fatalf("put %d, with one full disk among three: %v", n, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.ReadFile(m.Log)
	must(err)
	if !strings.Contains(string(log), "the disk is full") {
		t.Error("the member with the full disk does not say so in its log")
	}
	must(os.Remove(filler))
	want, err := clients[0].HashKV(ctx, c.Members[0].Endpoint, 0)
	must(err)
	_, err = clients[2].Get(ctx, "key0") // it has applied by then what was acknowledged
	must(err)
	got, err := clients[2].HashKV(ctx, m.Endpoint, want.HashRevision)
	must(err)
	if got.Hash != want.Hash {
		t.Errorf("the member's hash at revision %d is %x, the others' %x", want.HashRevision, got.Hash, want.Hash)
	}
}

// TestE46FullDiskRecoversByItself fills the disk of the only member, so that there is nobody to step aside for: it says NOSPACE, reads,
// deletions and compactions go on, and once there is space writes do, without a start and without an operator.
func TestE46FullDiskRecoversByItself(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c := startCluster(t, 1, cluster.Options{Args: []string{"--testing-log-segment-bytes=1048576", "--disk-reserve-bytes=8388608"}})
	m := c.Members[0]
	moveToSmallDisk(t, ctx, m, "48m")
	client, pid := dial(t, m.Endpoint), m.PID()
	filler := filepath.Join(m.Dir, "filler")
	fill(t, filler)
	value := strings.Repeat("x", 64<<10)
	await := func(what string, met func() bool) {
		t.Helper()
		for !met() {
			select {
			case <-ctx.Done():
				t.Fatal(what)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	acknowledged := 0
	await("there is no end of space", func() bool {
		_, err := client.Put(ctx, fmt.Sprint("key", acknowledged%20), value)
		if err == nil {
			acknowledged++
		}
		return errors.Is(err, rpctypes.ErrNoSpace)
	})
	t.Log("writes acknowledged until NOSPACE:", acknowledged)
	if list, err := client.AlarmList(ctx); err != nil || len(list.Alarms) != 1 {
		t.Errorf("the alarms are %v, %v", list, err)
	}
	if _, err := client.Get(ctx, "key0"); err != nil {
		t.Error("a read:", err)
	}
	gone, err := client.Delete(ctx, "key1")
	if err != nil {
		t.Fatal("a deletion:", err)
	}
	if _, err := client.Compact(ctx, gone.Header.Revision); err != nil {
		t.Error("a compaction:", err)
	}
	if text := statusText(t, c); !strings.Contains(text, "TROUBLE (disk-full") || !strings.Contains(text, "make room") {
		t.Errorf("the status says:\n%s", text)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	await("writes do not resume", func() bool {
		_, err := client.Put(ctx, "after", "v")
		return err == nil
	})
	await("the trouble stands", func() bool { return !strings.Contains(statusText(t, c), "disk-full") })
	if m.PID() != pid {
		t.Error("the process was started again")
	}
	if _, err := os.Stat(filepath.Join(m.Dir, reserveName)); err != nil {
		t.Error("no space is kept again:", err)
	}
}

func statusText(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	var out strings.Builder
	var endpoints []string
	for _, m := range c.Members {
		endpoints = append(endpoints, m.Endpoint)
	}
	if err := runStatus(t.Context(), &out, statusOptions{endpoints: endpoints, output: "table", timeout: 20 * time.Second}); err != nil {
		t.Log(err)
	}
	return out.String()
}

// moveToSmallDisk stops a member, and starts it again with its data on a file system in memory of the given size.
func moveToSmallDisk(t *testing.T, ctx context.Context, m *cluster.Member, size string) {
	t.Helper()
	m.Kill()
	aside := m.Dir + ".aside"
	if err := os.Rename(m.Dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(m.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", m.Dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
			t.Skip("a small disk is made with mount, which is not allowed here")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Kill()
		if err := syscall.Unmount(m.Dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(m.Dir, os.DirFS(aside)); err != nil {
		t.Fatal(err)
	}
	if err := m.Restart(ctx); err != nil {
		t.Fatal(err)
	}
}

// fill writes a file until the disk is full, and gives a little space back.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	size := int64(0)
	for {
		n, err := f.Write(block)
		size += int64(n)
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size - 1<<20); err != nil {
		t.Fatal(err)
	}
}
