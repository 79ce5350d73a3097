package diff

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// leaseIDs are the fields that hold a lease's id.
var leaseIDs = fieldSet(
	"LeaseGrantRequest.ID LeaseRevokeRequest.ID LeaseKeepAliveRequest.ID LeaseTimeToLiveRequest.ID",
	"LeaseGrantResponse.ID LeaseKeepAliveResponse.ID LeaseTimeToLiveResponse.ID LeaseStatus.ID",
	"PutRequest.lease Compare.lease mvccpb.KeyValue.lease",
)

// givenID stands for the id of the n-th lease of a stream, from 1, to which the server gave an id: it gives random ones.
func givenID(n int) int64 { return 1<<41 + int64(n) }

// leases is what a side knows of a stream's leases.
type leases struct {
	real    []int64         // what the server calls givenID(1), givenID(2), …
	granted map[int64]grant // by id in the stream
	// ordered says that the order of the list is compared: those first that end first. etcd has it on the leader only.
	ordered bool
}

// grant is a lease's time to live, and when it began at the earliest.
type grant struct {
	ttl   int64
	since time.Time
}

func (l *leases) toServer(request proto.Message) {
	mapNumbers(request.ProtoReflect(), leaseIDs, func(id int64) int64 {
		if n := id - givenID(1); n >= 0 && n < int64(len(l.real)) {
			return l.real[n]
		}
		return id
	})
}

func (l *leases) fromServer(answer proto.Message) {
	mapNumbers(answer.ProtoReflect(), leaseIDs, func(id int64) int64 {
		if n := slices.Index(l.real, id); n >= 0 {
			return givenID(n + 1)
		}
		return id
	})
}

// normalize puts the stream's ids into an answer, and takes out what depends on the time that calls take, if it is what
// it should be: asked is when the call was made.
func (l *leases) normalize(request, answer proto.Message, err error, asked time.Time) {
	if err != nil {
		return
	}
	if granted, ok := answer.(*pb.LeaseGrantResponse); ok && request.(*pb.LeaseGrantRequest).ID == 0 {
		l.real = append(l.real, granted.ID)
	}
	l.fromServer(answer)
	switch answer := answer.(type) {
	case *pb.LeaseGrantResponse:
		l.note(answer.ID, grant{answer.TTL, asked})
	case *pb.LeaseKeepAliveResponse:
		l.note(answer.ID, grant{answer.TTL, asked})
	case *pb.LeaseTimeToLiveResponse:
		l.normalizeTimeToLive(answer)
	case *pb.LeaseLeasesResponse:
		l.normalizeList(answer)
	}
}

func (l *leases) note(id int64, g grant) {
	if l.granted == nil {
		l.granted = map[int64]grant{}
	}
	l.granted[id] = g
}

// normalizeTimeToLive takes what is left of a lease for what was granted, if it is between that less the time since, and
// a second, which it is rounded down by, and that. Keys are sorted: etcd tells them in the order of a map.
func (l *leases) normalizeTimeToLive(answer *pb.LeaseTimeToLiveResponse) {
	g := l.granted[answer.ID]
	least := g.ttl - int64(time.Since(g.since)/time.Second) - 2
	if g.ttl > 0 && answer.GrantedTTL == g.ttl && answer.TTL >= least && answer.TTL <= g.ttl {
		answer.TTL = g.ttl
	}
	slices.SortFunc(answer.Keys, slices.Compare)
}

// normalizeList sorts leases by id where they are in order by the times that they have left, or that order does not count.
func (l *leases) normalizeList(answer *pb.LeaseLeasesResponse) {
	ends := func(s *pb.LeaseStatus) int64 { return l.granted[s.ID].ttl }
	inOrder := slices.IsSortedFunc(answer.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(ends(a), ends(b)) })
	if inOrder || !l.ordered {
		slices.SortFunc(answer.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	}
}

// revokeAll ends all leases.
func (s *side) revokeAll(ctx context.Context) error {
	client := pb.NewLeaseClient(s.conns[0])
	all, err := client.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		return fmt.Errorf("listing leases: %w", err)
	}
	for _, lease := range all.Leases {
		if _, err := client.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: lease.ID}); err != nil && status.Code(err) != codes.NotFound {
			return fmt.Errorf("revoking lease %d: %w", lease.ID, err)
		}
	}
	return nil
}
