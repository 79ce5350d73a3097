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

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa/internal/cluster"
)

// TestFullDisk fills one member's disk, a small one, under writes. The others go on; the member never serves anything wrong,
// and once there is space, and it was started again where it had to stop, it has all that was acknowledged.
func TestFullDisk(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := startCluster(t, 3, cluster.Options{Args: []string{"--testing-log-segment-bytes=1048576"}})
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
	if !strings.Contains(string(log), "no space left") {
		t.Error("the member with the full disk does not say so in its log")
	}
	must(os.Remove(filler))
	m.Kill() // it may have stopped taking part, and says so; that needs a start
	must(m.Restart(ctx))
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
