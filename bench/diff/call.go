package diff

import (
	"fmt"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// method is one way to ask a server.
type method struct {
	path     string // of gRPC
	request  proto.Message
	response proto.Message
	stream   bool // answers are many
}

var methods = map[string]method{
	"Range":       {"/etcdserverpb.KV/Range", (*pb.RangeRequest)(nil), (*pb.RangeResponse)(nil), false},
	"RangeStream": {"/etcdserverpb.KV/RangeStream", (*pb.RangeRequest)(nil), (*pb.RangeStreamResponse)(nil), true},
	"Put":         {"/etcdserverpb.KV/Put", (*pb.PutRequest)(nil), (*pb.PutResponse)(nil), false},
	"DeleteRange": {"/etcdserverpb.KV/DeleteRange", (*pb.DeleteRangeRequest)(nil), (*pb.DeleteRangeResponse)(nil), false},
	"Txn":         {"/etcdserverpb.KV/Txn", (*pb.TxnRequest)(nil), (*pb.TxnResponse)(nil), false},
	"Compact":     {"/etcdserverpb.KV/Compact", (*pb.CompactionRequest)(nil), (*pb.CompactionResponse)(nil), false},
	"Hash":        {"/etcdserverpb.Maintenance/Hash", (*pb.HashRequest)(nil), (*pb.HashResponse)(nil), false},
	"HashKV":      {"/etcdserverpb.Maintenance/HashKV", (*pb.HashKVRequest)(nil), (*pb.HashKVResponse)(nil), false},
	"Status":      {"/etcdserverpb.Maintenance/Status", (*pb.StatusRequest)(nil), (*pb.StatusResponse)(nil), false},
	"Alarm":       {"/etcdserverpb.Maintenance/Alarm", (*pb.AlarmRequest)(nil), (*pb.AlarmResponse)(nil), false},
	"MemberList":  {"/etcdserverpb.Cluster/MemberList", (*pb.MemberListRequest)(nil), (*pb.MemberListResponse)(nil), false},

	"LeaseGrant":      {"/etcdserverpb.Lease/LeaseGrant", (*pb.LeaseGrantRequest)(nil), (*pb.LeaseGrantResponse)(nil), false},
	"LeaseRevoke":     {"/etcdserverpb.Lease/LeaseRevoke", (*pb.LeaseRevokeRequest)(nil), (*pb.LeaseRevokeResponse)(nil), false},
	"LeaseKeepAlive":  {"/etcdserverpb.Lease/LeaseKeepAlive", (*pb.LeaseKeepAliveRequest)(nil), (*pb.LeaseKeepAliveResponse)(nil), true},
	"LeaseTimeToLive": {"/etcdserverpb.Lease/LeaseTimeToLive", (*pb.LeaseTimeToLiveRequest)(nil), (*pb.LeaseTimeToLiveResponse)(nil), false},
	"LeaseLeases":     {"/etcdserverpb.Lease/LeaseLeases", (*pb.LeaseLeasesRequest)(nil), (*pb.LeaseLeasesResponse)(nil), false},
}

// call is one request to one member. Revisions in it are counted from the stream's beginning: see side.
type call struct {
	method  string
	member  int // from 0; of a cluster with fewer, what remains
	request proto.Message
}

// String returns the call as parseCall reads it: a method, the member if it is not the first, and the fields of the request.
//
//	Range@2 key:"a" range_end:"b" limit:1
func (c call) String() string {
	name := c.method
	if c.member > 0 {
		name += "@" + strconv.Itoa(c.member+1)
	}
	return strings.TrimSpace(name + " " + printMessage(c.request))
}

func parseCall(line string) (call, error) {
	name, fields, _ := strings.Cut(line, " ")
	name, number, found := strings.Cut(name, "@")
	c := call{method: name}
	if found {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 {
			return call{}, fmt.Errorf("%q: members are numbered from 1", line)
		}
		c.member = n - 1
	}
	m, ok := methods[name]
	if !ok {
		return call{}, fmt.Errorf("%q: there is no method %s", line, name)
	}
	c.request = newMessage(m.request)
	if err := prototext.Unmarshal([]byte(fields), c.request); err != nil {
		return call{}, fmt.Errorf("%q: %w", line, err)
	}
	return c, nil
}

func newMessage(kind proto.Message) proto.Message { return kind.ProtoReflect().New().Interface() }

// local reports whether a member may answer from what it has applied so far, which in a cluster may be less than
// what was acknowledged elsewhere.
func (c call) local() bool {
	switch r := c.request.(type) {
	case *pb.RangeRequest:
		return r.Serializable
	case *pb.TxnRequest:
		return true // of reads that are serializable, it may be
	case *pb.MemberListRequest:
		return !r.Linearizable
	case *pb.HashRequest, *pb.HashKVRequest, *pb.StatusRequest, *pb.AlarmRequest:
		return true
	case *pb.LeaseKeepAliveRequest, *pb.LeaseTimeToLiveRequest, *pb.LeaseLeasesRequest:
		return true // the header is the member's that was asked, and in etcd the list is, too
	}
	return false
}
