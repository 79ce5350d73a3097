package diff

import (
	"bytes"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/bench/servers"
)

// TestLargeRequests compares what is too large to be written down: the limits of requests, and ranges that take many
// messages.
func TestLargeRequests(t *testing.T) {
	p := sides(t, 1, servers.Kind(*peer))
	for name, stream := range map[string][]call{
		"values about the largest request":       valuesAbout(1536 << 10),
		"requests about the largest message":     valuesAbout(2 << 20),
		"long keys":                              longKeys(),
		"as many operations as there may be":     manyOperations(),
		"nested deeper than anybody":             {nested(5), nested(40), nested(126), nested(127), nested(128), nested(200)},
		"many keys, ranged and streamed":         manyKeys(2000, 1000),
		"large values, ranged and streamed":      manyKeys(40, 300<<10),
		"sorts of many keys that are equal":      sortsOfEquals(300),
		"deletions and compaction of many keys":  manyDeletions(500),
		"one key of many versions, compacted to": manyVersions(300),
	} {
		t.Run(name, func(t *testing.T) {
			d, err := p.run(t.Context(), stream)
			if err != nil {
				t.Fatalf("%.2000v", err)
			}
			if d != nil {
				t.Errorf("call %d, %.500v\n    etcd: %s\n    %s: %s", len(d.stream), d.stream[len(d.stream)-1], short(d.want, d.got), *peer, short(d.got, d.want))
			}
		})
	}
}

// short is what of a long answer is about where it parts from another one.
func short(a, other answer) answer {
	at := 0
	for at < min(len(a), len(other)) && a[at] == other[at] {
		at++
	}
	from, to := max(0, at-300), min(len(a), at+300)
	return answer(fmt.Sprintf("%d bytes, from %d: ...%s...", len(a), from, a[from:to]))
}

func put(key string, value []byte) call {
	return call{"Put", 0, &pb.PutRequest{Key: []byte(key), Value: value}}
}

func everything() *pb.RangeRequest { return &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}} }

// valuesAbout makes values about a limit. Where exactly etcd's is differs by two bytes from member to member, since it counts
// the id that it gives to a request, which is shorter for some members: that is left out.
func valuesAbout(limit int) (all []call) {
	value := bytes.Repeat([]byte("v"), limit+1)
	for _, less := range []int{-1, 0, 5, 10, 15, 20, 29, 35, 40} {
		all = append(all, put("k", value[:limit-less]))
	}
	half := value[:limit/2]
	for _, less := range []int{0, 20, 40, 60, 100} {
		all = append(all, call{"Txn", 0, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("a", half), opPut("b", half[less:])}}})
	}
	large := bytes.Repeat([]byte("k"), limit)
	return append(all,
		call{"DeleteRange", 0, &pb.DeleteRangeRequest{Key: large}},
		call{"Range", 0, &pb.RangeRequest{Key: large, CountOnly: true}},
		call{"RangeStream", 0, &pb.RangeRequest{Key: large, CountOnly: true}},
		call{"Txn", 0, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: large}}}}}},
		call{"Range", 0, &pb.RangeRequest{Key: []byte("k"), CountOnly: true}},
	)
}

func longKeys() (all []call) {
	for _, size := range []int{255, 256, 1 << 12, 1 << 16, 1<<16 + 1, 1 << 20} {
		all = append(all, put(string(bytes.Repeat([]byte{0}, size)), []byte("zeros")), put(string(bytes.Repeat([]byte{0xff}, size)), []byte("ones")))
	}
	keysOnly := everything()
	keysOnly.KeysOnly = true
	return append(all, call{"Range", 0, keysOnly}, call{"DeleteRange", 0, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}})
}

func opPut(key string, value []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: value}}}
}

func puts(n int) (all []*pb.RequestOp) {
	for i := range n {
		all = append(all, opPut(fmt.Sprintf("k%04d", i), nil))
	}
	return all
}

func manyOperations() (all []call) {
	for _, n := range []int{127, 128, 129} {
		compares := make([]*pb.Compare, n)
		for i := range compares {
			compares[i] = &pb.Compare{Key: []byte("k0001"), Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{}}
		}
		nested := []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: puts(n)}}}}
		all = append(all,
			call{"Txn", 0, &pb.TxnRequest{Success: puts(n)}},
			call{"Txn", 0, &pb.TxnRequest{Failure: puts(n)}},
			call{"Txn", 0, &pb.TxnRequest{Compare: compares, Success: puts(n), Failure: puts(n)}},
			call{"Txn", 0, &pb.TxnRequest{Success: nested}},
			call{"Txn", 0, &pb.TxnRequest{Success: append(nested, opPut("z", nil))}},
			call{"Txn", 0, &pb.TxnRequest{Compare: compares[:100], Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: puts(n - 100)}}},
			}}},
		)
	}
	return all
}

func nested(depth int) call {
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{opPut("deep", nil)}}
	for range depth {
		txn = &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: txn}}}}
	}
	return call{"Txn", 0, txn}
}

// load puts n keys, a hundred with each transaction.
func load(n, size int) (all []call) {
	for first := 0; first < n; first += 100 {
		var ops []*pb.RequestOp
		for i := first; i < min(n, first+100); i++ {
			ops = append(ops, opPut(fmt.Sprintf("key/%05d", i), bytes.Repeat([]byte{byte(i)}, size+i%7)))
			if len(ops)*size > 1<<20 {
				all = append(all, call{"Txn", 0, &pb.TxnRequest{Success: ops}})
				ops = nil
			}
		}
		all = append(all, call{"Txn", 0, &pb.TxnRequest{Success: ops}})
	}
	return all
}

func manyKeys(n, size int) []call {
	all := load(n, size)
	for _, limit := range []int64{0, 1, int64(n) - 1, int64(n), int64(n) + 1} {
		for _, keysOnly := range []bool{false, true} {
			r := everything()
			r.Limit, r.KeysOnly = limit, keysOnly
			all = append(all, call{"Range", 0, r}, call{"RangeStream", 0, r})
		}
	}
	old := everything()
	old.Revision = 3
	filtered := everything()
	filtered.MinModRevision, filtered.Limit = 4, 7
	return append(all, call{"Range", 0, old}, call{"RangeStream", 0, old}, call{"Range", 0, filtered})
}

// sortsOfEquals shows in which order equal ones come, which nothing promises: etcd's sort is not a stable one.
func sortsOfEquals(n int) []call {
	all := load(n, 0)
	all = append(all, load(n/3, 0)...)
	for order := range int32(3) {
		for target := range int32(5) {
			for _, limit := range []int64{0, 20} {
				r := everything()
				r.SortOrder, r.SortTarget, r.Limit = pb.RangeRequest_SortOrder(order), pb.RangeRequest_SortTarget(target), limit
				all = append(all, call{"Range", 0, r})
			}
		}
	}
	return all
}

func manyDeletions(n int) []call {
	all := load(n, 10)
	return append(all,
		call{"DeleteRange", 0, &pb.DeleteRangeRequest{Key: []byte("key/00100"), RangeEnd: []byte("key/00300"), PrevKv: true}},
		call{"Range", 0, everything()},
		call{"Compact", 0, &pb.CompactionRequest{Revision: 5, Physical: true}},
		call{"Range", 0, everything()},
		call{"Compact", 0, &pb.CompactionRequest{Revision: int64(n/100) + 2, Physical: true}},
		call{"Range", 0, everything()},
		call{"DeleteRange", 0, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true}},
	)
}

func manyVersions(n int) (all []call) {
	for i := range n {
		all = append(all, put("k", []byte{byte(i)}))
	}
	at := func(revision int) call {
		r := everything()
		r.Revision = int64(revision)
		return call{"Range", 0, r}
	}
	return append(all, at(2), at(n/2), at(n+1), at(n+2),
		call{"Compact", 0, &pb.CompactionRequest{Revision: int64(n / 2), Physical: true}}, at(n/2-1), at(n/2), at(n/2+1), at(n+1))
}
