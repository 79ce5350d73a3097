package diff

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/bench/servers"
)

var (
	long    = flag.Duration("long", 0, "make random streams for this long, instead of a fixed number of them")
	seed    = flag.Uint64("seed", 0, "begin with the streams of this seed; 0: with one that nobody has chosen")
	calls   = flag.Int("calls", 100, "calls in a stream")
	peer    = flag.String("peer", "balsa", "what is compared with etcd: balsa, or etcd itself")
	peerBin = flag.String("peer-binary", "", "the peer's binary; built from this tree by default")
	etcdBin = flag.String("etcd-binary", "", "etcd's binary; built from its published module by default")
	dataDir = flag.String("dir", "", "where the servers keep their data; the system's temporary directory by default")
	tries   = flag.Int("shrink", 400, "attempts to make a stream that fails smaller")
)

// running are the clusters that tests have asked for so far. They are shared: each stream starts with a reset.
var running = map[slot]*servers.Servers{}

// slot tells clusters apart, of which two may be of one kind.
type slot struct {
	role    string // "reference" or "peer"
	kind    servers.Kind
	members int
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	for _, s := range running {
		if err := s.Close(); err != nil {
			fmt.Println(err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// start returns the cluster in a slot, which it starts where that was not done yet.
func start(t *testing.T, s slot) *side {
	t.Helper()
	if running[s] == nil {
		started := time.Now()
		running[s] = fresh(t, s)
		t.Logf("%s of %d members started in %v", s.kind, s.members, time.Since(started).Round(time.Millisecond))
	}
	return sideOf(running[s])
}

// fresh starts a cluster, which the caller closes.
func fresh(t *testing.T, s slot) *servers.Servers {
	t.Helper()
	cluster, err := servers.Start(t.Context(), servers.Options{
		Kind: s.kind, Binary: binary(s.kind, s.role == "reference"), Members: s.members, Dir: *dataDir,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.kind != servers.Etcd {
		return cluster
	}
	// etcd raises the version of its storage to its own some seconds after the start; until then Status says 3.5.0.
	if err := cluster.AwaitStatus(t.Context(), storageIsOfThisVersion); err != nil {
		t.Fatal(err, cluster.Close())
	}
	return cluster
}

// binary is what to start; "" is built.
func binary(kind servers.Kind, reference bool) string {
	if kind == servers.Etcd && (reference || *peer != string(servers.Etcd)) {
		return *etcdBin
	}
	return *peerBin
}

func storageIsOfThisVersion(all []*pb.StatusResponse) bool {
	return !slices.ContainsFunc(all, func(s *pb.StatusResponse) bool { return minor(s.GetStorageVersion()) != minor(s.GetVersion()) })
}

// minor is a version up to its second dot.
func minor(version string) string { return version[:max(0, strings.LastIndexByte(version, '.'))] }

// sides returns the reference and what is compared with it.
func sides(t *testing.T, members int, peer servers.Kind) pair {
	t.Helper()
	return pair{start(t, slot{"reference", servers.Etcd, members}), start(t, slot{"peer", peer, members})}
}

func firstSeed() uint64 {
	if *seed != 0 {
		return *seed
	}
	return uint64(time.Now().UnixNano())
}
