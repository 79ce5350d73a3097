package diff

import (
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// masked are the fields that differ by nature: who answered, in which term and where in its log. That they are set, or
// not, is compared.
var masked = fieldSet(
	"ResponseHeader.cluster_id ResponseHeader.member_id ResponseHeader.raft_term",
	"StatusResponse.leader StatusResponse.raftIndex StatusResponse.raftTerm StatusResponse.raftAppliedIndex",
	"Member.ID",
)

// revisions are the fields that hold revisions.
var revisions = fieldSet(
	"RangeRequest.revision RangeRequest.min_mod_revision RangeRequest.max_mod_revision",
	"RangeRequest.min_create_revision RangeRequest.max_create_revision",
	"Compare.create_revision Compare.mod_revision CompactionRequest.revision HashKVRequest.revision",
	"ResponseHeader.revision HashKVResponse.compact_revision HashKVResponse.hash_revision",
	"WatchCreateRequest.start_revision WatchResponse.compact_revision",
	"mvccpb.KeyValue.create_revision mvccpb.KeyValue.mod_revision",
)

// fieldSet takes names with or without their package, which is mostly etcdserverpb.
func fieldSet(names ...string) map[protoreflect.FullName]bool {
	set := map[protoreflect.FullName]bool{}
	for _, name := range strings.Fields(strings.Join(names, " ")) {
		if strings.Count(name, ".") == 1 {
			name = "etcdserverpb." + name
		}
		set[protoreflect.FullName(name)] = true
	}
	return set
}

// farAway is beyond all revisions that a test makes; it is the same on both sides.
const farAway = 1 << 40

// shiftRevisions adds by to each revision in m that is one: 0 and below mean something else.
func shiftRevisions(m protoreflect.Message, by int64) {
	mapNumbers(m, revisions, func(n int64) int64 {
		if n > 0 && n < farAway {
			n += by
		}
		return n
	})
}

// mapNumbers puts what f makes of them into those fields of m, and of all messages in it, that are set.
func mapNumbers(m protoreflect.Message, fields map[protoreflect.FullName]bool, f func(int64) int64) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Kind() == protoreflect.MessageKind && field.IsList():
			for i := range value.List().Len() {
				mapNumbers(value.List().Get(i).Message(), fields, f)
			}
		case field.Kind() == protoreflect.MessageKind:
			mapNumbers(value.Message(), fields, f)
		case fields[field.FullName()]:
			m.Set(field, protoreflect.ValueOfInt64(f(value.Int())))
		}
		return true
	})
}

// normalize makes an answer comparable in ways that a mask cannot.
func normalize(request, answer proto.Message) {
	switch answer := answer.(type) {
	case *pb.MemberListResponse:
		normalizeMembers(answer)
	case *pb.StatusResponse:
		answer.DbSize, answer.DbSizeInUse = 0, 0 // how much it takes is the server's business, and so is "nothing"
		answer.DbSizeQuota = 0                   // Balsa enforces no quota yet, and says so; etcd's is 2 GiB by default
	case *pb.HashResponse:
		answer.Hash = 0
	case *pb.HashKVResponse:
		normalizeHashKV(request.(*pb.HashKVRequest), answer)
	}
}

// normalizeHashKV takes out what depends on the moment. While a compaction's work is done in the background, etcd computes
// the hash at its revision and says that it is compacted to there; afterwards it knows that hash, and answers with the
// compaction before that one, and with the revision as it was asked for, also where that was 0.
func normalizeHashKV(request *pb.HashKVRequest, answer *pb.HashKVResponse) {
	answer.Hash, answer.CompactRevision = 0, 0
	if request.Revision <= 0 && (answer.HashRevision == request.Revision || answer.HashRevision == answer.GetHeader().GetRevision()) {
		answer.HashRevision = 0
	}
}

// normalizeMembers orders members by name, since their order is that of their ids, and takes the ports out of URLs.
func normalizeMembers(list *pb.MemberListResponse) {
	slices.SortFunc(list.Members, func(a, b *pb.Member) int { return strings.Compare(a.Name, b.Name) })
	for _, m := range list.Members {
		for _, urls := range [][]string{m.PeerURLs, m.ClientURLs} {
			for i, url := range urls {
				urls[i] = url[:strings.LastIndexByte(url, ':')+1] + "PORT"
			}
		}
	}
}
