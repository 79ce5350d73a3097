package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
)

// Changes of members. Each is made for the configuration that was looked at, and looks again where that was overtaken (E37).

// MemberAdd adds a member that is to vote, or with IsLearner one that is not. The former joins as a learner, too, and votes as
// soon as it keeps up, so that no majority is lost to a member that is not started yet.
func (s *clusterService) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	urls, err := checkPeerURLs(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	id, err := newMemberID()
	if err != nil {
		return nil, apiError(err)
	}
	change := balsa.Change{Kind: raft.AddMember, Member: id, Address: strings.Join(urls, ",")}
	if r.IsLearner {
		change.Kind = raft.AddLearner
	}
	if s.inUse(urls, 0) { // before somebody answers there
		return nil, rpctypes.ErrGRPCPeerURLExist
	}
	if s.config.TryPeer != nil {
		if err := s.config.TryPeer(ctx, urls); err != nil {
			return nil, peerTaken(err)
		}
	}
	err = s.change(ctx, change, func() error {
		if s.inUse(urls, 0) {
			return rpctypes.ErrGRPCPeerURLExist
		}
		if r.IsLearner && s.learners() >= s.config.Limits.Learners {
			return rpctypes.ErrGRPCTooManyLearners
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	added := &pb.Member{ID: uint64(id), PeerURLs: urls, IsLearner: r.IsLearner}
	return &pb.MemberAddResponse{Header: s.identify(&pb.ResponseHeader{}), Member: added, Members: s.members()}, nil
}

func (s *clusterService) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	change := balsa.Change{Kind: raft.Remove, Member: raft.MemberID(r.ID)}
	if err := s.change(ctx, change, s.exists(r.ID)); err != nil {
		return nil, err
	}
	return &pb.MemberRemoveResponse{Header: s.identify(&pb.ResponseHeader{}), Members: s.members()}, nil
}

func (s *clusterService) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	urls, err := checkPeerURLs(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	change := balsa.Change{Kind: raft.SetAddress, Member: raft.MemberID(r.ID), Address: strings.Join(urls, ",")}
	err = s.change(ctx, change, func() error {
		if s.inUse(urls, r.ID) {
			return rpctypes.ErrGRPCPeerURLExist
		}
		return s.exists(r.ID)()
	})
	if err != nil {
		return nil, err
	}
	return &pb.MemberUpdateResponse{Header: s.identify(&pb.ResponseHeader{}), Members: s.members()}, nil
}

func (s *clusterService) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	change := balsa.Change{Kind: raft.Promote, Member: raft.MemberID(r.ID)}
	if err := s.change(ctx, change, s.exists(r.ID)); err != nil {
		return nil, err
	}
	return &pb.MemberPromoteResponse{Header: s.identify(&pb.ResponseHeader{}), Members: s.members()}, nil
}

// change makes a change, where check, which looks at the members as they are, does not mind. The error is the API's.
func (s *Server) change(ctx context.Context, change balsa.Change, check func() error) error {
	deadline := time.Now().Add(s.config.Limits.RequestTimeout)
	for attempt := 0; ; attempt++ {
		if err := s.barrier(ctx); err != nil {
			return err
		}
		if err := check(); err != nil {
			return err
		}
		answered := make(chan error, 1)
		s.group.ChangeMembersAsync(balsa.ChangeOptions{From: s.group.Settled().Index}, []balsa.Change{change}, time.Until(deadline),
			func(_ raft.ConfigurationAt, err error) { answered <- err })
		var err error
		select {
		case err = <-answered:
		case <-ctx.Done():
			err = ctx.Err()
		}
		overtaken := errors.Is(err, raft.ErrConfigurationChanged) || errors.Is(err, raft.ErrChangeUnderWay)
		if err == nil || !overtaken && !again(err) || !pause(ctx, deadline, attempt) {
			return changeError(err)
		}
	}
}

// changeError puts a refused change into the words of etcd.
func changeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, balsa.ErrOutcomeUnknown):
	case errors.Is(err, raft.ErrMemberUnknown):
		return rpctypes.ErrGRPCMemberNotFound
	case errors.Is(err, raft.ErrMemberExists):
		return rpctypes.ErrGRPCMemberExist
	case errors.Is(err, raft.ErrNotLearner):
		return rpctypes.ErrGRPCMemberNotLearner
	case errors.Is(err, raft.ErrLearnerNotReady):
		return rpctypes.ErrGRPCLearnerNotReady
	case errors.Is(err, raft.ErrMajorityLost):
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	case errors.Is(err, raft.ErrChangeUnderWay), errors.Is(err, raft.ErrConfigurationChanged):
		return rpctypes.ErrGRPCUnhealthy
	}
	return proposalError(err)
}

func (s *Server) exists(id uint64) func() error {
	return func() error {
		if s.member(id) == nil {
			return rpctypes.ErrGRPCMemberNotFound
		}
		return nil
	}
}

// inUse reports whether a member other than one has one of the URLs.
func (s *Server) inUse(urls []string, but uint64) bool {
	return slices.ContainsFunc(s.members(), func(m *pb.Member) bool {
		return m.ID != but && slices.ContainsFunc(m.PeerURLs, func(u string) bool { return slices.Contains(urls, u) })
	})
}

// learners counts the members that stay learners until they are promoted.
func (s *Server) learners() (count int) {
	settled := s.group.Settled()
	for i := range settled.Seats {
		if seat := &settled.Seats[i]; seat.Role == raft.Learner && !seat.Promote {
			count++
		}
	}
	return count
}

// checkPeerURLs accepts what etcd does: at least one URL, http or https, host and port and nothing else. It returns them sorted.
func checkPeerURLs(texts []string) ([]string, error) {
	if len(texts) == 0 {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	urls := make([]string, 0, len(texts))
	for _, text := range texts {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
			return nil, rpctypes.ErrGRPCMemberBadURLs
		}
		if _, _, err := net.SplitHostPort(u.Host); err != nil {
			return nil, rpctypes.ErrGRPCMemberBadURLs
		}
		urls = append(urls, u.Scheme+"://"+u.Host)
	}
	slices.Sort(urls)
	return slices.Compact(urls), nil
}

func newMemberID() (raft.MemberID, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return raft.MemberID(max(1, binary.BigEndian.Uint64(b[:]))), nil
}

// peerTaken says that somebody else is at a peer URL.
func peerTaken(err error) error {
	return status.Error(codes.FailedPrecondition, "balsa: the member was not added: "+err.Error())
}
