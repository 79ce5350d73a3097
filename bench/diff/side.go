package diff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/balsadb/balsa/bench/servers"
)

// side is one of the two that are compared.
type side struct {
	name    string
	conns   []*grpc.ClientConn
	servers *servers.Servers
	// shift is what revisions have grown by when the stream began: revisions in calls and answers are as if the
	// server had been fresh, at revision 1.
	shift int64
	last  int // the member that was asked last
	// leases are those that were granted since the stream began.
	leases leases
	// tamper plants a difference: it may change a call before it is made, and an answer before it is looked at.
	tamper tamper
}

type tamper struct {
	call   func(call) call
	answer func(call, proto.Message)
	watch  func(*pb.WatchResponse)
}

func sideOf(s *servers.Servers) *side {
	side := &side{name: string(s.Kind), servers: s}
	for i := range s.Members {
		side.conns = append(side.conns, s.Conn(i))
	}
	return side
}

// timeout bounds one call: a server that hangs is a difference.
const timeout = 20 * time.Second

// do makes a call.
func (s *side) do(ctx context.Context, c call) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	member := c.member % len(s.conns)
	if c.local() && member != s.last {
		if err := s.catchUp(ctx, member); err != nil {
			return "", err
		}
	}
	s.last = member
	if s.tamper.call != nil {
		c = s.tamper.call(c)
	}
	request := proto.Clone(c.request)
	shiftRevisions(request.ProtoReflect(), s.shift)
	s.leases.toServer(request)
	asked := time.Now()
	messages, err := invoke(ctx, s.conns[member], methods[c.method], request)
	if status.Code(err) == codes.Unavailable && !s.servers.Members[member].Running() {
		return "", fmt.Errorf("%s member %d has died: %s", s.name, member+1, s.servers.Logs())
	}
	if noAnswer(err) {
		return "", fmt.Errorf("%s member %d: %w", s.name, member+1, err)
	}
	for _, m := range messages {
		shiftRevisions(m.ProtoReflect(), -s.shift)
		s.leases.normalize(request, m, err, asked)
		normalize(request, m)
		if s.tamper.answer != nil {
			s.tamper.answer(c, m)
		}
	}
	return answerOf(c, messages, err), nil
}

// catchUp waits until a member has applied what was acknowledged by others.
func (s *side) catchUp(ctx context.Context, member int) error {
	_, err := pb.NewKVClient(s.conns[member]).Range(ctx, &pb.RangeRequest{Key: []byte("absent")})
	if err != nil {
		return fmt.Errorf("%s member %d does not catch up: %w", s.name, member+1, err)
	}
	return nil
}

func invoke(ctx context.Context, conn *grpc.ClientConn, m method, request proto.Message) ([]proto.Message, error) {
	if !m.stream {
		response := newMessage(m.response)
		err := conn.Invoke(ctx, m.path, request, response)
		return []proto.Message{response}, err
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return nil, err
	}
	var all []proto.Message
	for {
		response := newMessage(m.response)
		err := stream.RecvMsg(response)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, response)
	}
}

// reset makes the server as good as fresh: no keys, no leases, and no revision to be read but the latest, which counts as 1.
func (s *side) reset(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	kv := pb.NewKVClient(s.conns[0])
	everything := []byte{0}
	// The marker makes sure that there is a revision to compact, also where the last stream had compacted them all.
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("marker")}); err != nil {
		return fmt.Errorf("resetting %s: %w", s.name, err)
	}
	if err := s.revokeAll(ctx); err != nil {
		return fmt.Errorf("resetting %s: %w", s.name, err)
	}
	deleted, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: everything, RangeEnd: everything})
	if err != nil {
		return fmt.Errorf("resetting %s: %w", s.name, err)
	}
	revision := deleted.Header.Revision
	if _, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: revision}); err != nil {
		return fmt.Errorf("resetting %s: %w", s.name, err)
	}
	s.shift, s.last = revision-1, 0
	s.leases = leases{ordered: len(s.conns) == 1}
	return nil
}
