package server

import (
	"context"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// clusterMember is a whole member but for disk and network between the members, which are memory.
type clusterMember struct {
	host    *balsa.Host
	group   *balsa.Group
	store   *store.Store
	server  *Server
	address string
	client  *clientv3.Client
}

func startCluster(t *testing.T) []*clusterMember {
	t.Helper()
	network := transport.NewMemory(transport.Limits{})
	var all []*clusterMember
	var members []raft.Member
	var listed []*pb.Member
	for id := range raft.MemberID(3) {
		members = append(members, raft.Member{ID: id + 1, Life: 1})
		listed = append(listed, &pb.Member{ID: uint64(id + 1), PeerURLs: []string{fmt.Sprintf("http://peer-%d:1", id+1)}})
	}
	for _, self := range members {
		m := &clusterMember{}
		all = append(all, m)
		var err error
		if m.store, err = store.Open(engine.NewMemory(), store.Options{Group: 1}); err != nil {
			t.Fatal(err)
		}
		m.host, err = balsa.OpenHost(balsa.HostConfig{
			Member: self.ID, FS: vfs.NewMem(), Transport: network.Join(self.ID), SegmentSize: 4 << 20,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.host.Close() })
		if m.group, err = m.host.StartGroup(balsa.GroupConfig{ID: 1, Members: members, StateMachine: m.store}); err != nil {
			t.Fatal(err)
		}
		config := Config{Group: m.group, Store: m.store, Members: listed}
		m.server, m.address = startAs(t, config, self.ID)
		m.client = newClient(t, m.address)
	}
	return all
}

func TestEveryMemberServesEveryRequest(t *testing.T) {
	members := startCluster(t)
	revision := int64(1)
	for round := range 3 {
		for i, writer := range members {
			key, value := fmt.Sprintf("k%d", i), fmt.Sprintf("round %d", round)
			put, err := writer.client.Put(t.Context(), key, value)
			if err != nil {
				t.Fatal(err)
			}
			revision++
			for _, reader := range members {
				get, err := reader.client.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				if len(get.Kvs) != 1 || string(get.Kvs[0].Value) != value || get.Header.Revision != revision || put.Header.Revision != revision {
					t.Fatalf("revision %d: put answered %v, then a get answered %v", revision, put, get)
				}
				if want := uint64(reader.group.Member()); get.Header.MemberId != want || get.Header.ClusterId != 42 || get.Header.RaftTerm == 0 {
					t.Errorf("member %d answered with header %v", want, get.Header)
				}
			}
		}
	}
	txn, err := members[1].client.Txn(t.Context()).If(clientv3.Compare(clientv3.Value("k0"), "=", "round 2")).
		Then(clientv3.OpDelete("", clientv3.WithPrefix())).Commit()
	if err != nil || !txn.Succeeded || txn.Responses[0].GetResponseDeleteRange().Deleted != 3 {
		t.Fatalf("txn %v, %v", txn, err)
	}
	wantSameEverywhere(t, members)
}

// wantSameEverywhere compares the members once all have applied what any of them has.
func wantSameEverywhere(t *testing.T, members []*clusterMember) {
	t.Helper()
	index, err := members[0].group.ReadBarrier(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var hashes []uint32
	for _, m := range members {
		if err := m.group.WaitApplied(t.Context(), index); err != nil {
			t.Fatal(err)
		}
		hash, err := m.client.HashKV(t.Context(), m.address, 0)
		if err != nil {
			t.Fatal(err)
		}
		if hashes = append(hashes, hash.Hash); hash.Hash != hashes[0] {
			t.Errorf("the members' hashes differ: %v", hashes)
		}
	}
}

func TestMembersKnowEachOther(t *testing.T) {
	members := startCluster(t)
	for _, m := range members {
		if err := m.server.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range members {
		list, err := m.client.MemberList(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, other := range list.Members {
			if other.ID != uint64(i+1) || other.Name != "one" || len(other.PeerURLs) != 1 {
				t.Errorf("member %d lists %v", m.group.Member(), other)
			}
		}
		status, err := m.client.Status(t.Context(), m.address)
		if err != nil || len(status.Errors) != 0 || status.Leader == 0 || status.RaftIndex < 4 {
			t.Errorf("status of member %d: %v, %v", m.group.Member(), status, err)
		}
	}
}

// The leader goes away without a word. What clients ask of the others meanwhile waits for the next leader; each
// write that was answered well is there, once.
func TestWritesGoOnWhenTheLeaderIsGone(t *testing.T) {
	members := startCluster(t)
	if _, err := members[0].client.Put(t.Context(), "k", "before"); err != nil {
		t.Fatal(err)
	}
	leader := int(members[0].group.Leadership().Leader) - 1
	if err := members[leader].host.Close(); err != nil {
		t.Fatal(err)
	}
	var others []*clusterMember
	for i, m := range members {
		if i != leader {
			others = append(others, m)
		}
	}
	answered := 0
	for i := range 10 {
		put, err := others[i%2].client.Put(t.Context(), fmt.Sprintf("k%d", i), "after")
		if err != nil {
			t.Logf("a put during the election: %v", err) // unknown is an honest answer
			continue
		}
		get, err := others[(i+1)%2].client.Get(t.Context(), fmt.Sprintf("k%d", i))
		if err != nil || len(get.Kvs) != 1 || get.Kvs[0].Version != 1 || get.Kvs[0].ModRevision != put.Header.Revision {
			t.Errorf("put %v, then got %v, %v", put, get, err)
		}
		answered++
	}
	if answered < 8 {
		t.Errorf("%d of 10 puts succeeded after the leader was gone", answered)
	}
	wantSameEverywhere(t, others)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := pb.NewKVClient(dial(t, members[leader].address)).Put(ctx, &pb.PutRequest{Key: []byte("k")}); err == nil {
		t.Error("a member whose host is closed answered a put")
	}
}
