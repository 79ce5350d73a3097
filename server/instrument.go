package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// registerService registers a service of the API with everything around its methods that they have in
// common: bounds, the require-leader rule, counters, and an end to panics. It wraps each method once, at the start,
// rather than every call in interceptors that would have to look up again what they are called for.
func (s *Server) registerService(desc *grpc.ServiceDesc, implementation any) {
	wrapped := *desc
	wrapped.HandlerType = (*any)(nil) // the wrappers know what they call
	wrapped.Methods = slices.Clone(desc.Methods)
	wrapped.Streams = slices.Clone(desc.Streams)
	for i := range wrapped.Methods {
		m := &wrapped.Methods[i]
		m.Handler = s.unary(desc.ServiceName, m.MethodName, m.Handler)
	}
	for i := range wrapped.Streams {
		m := &wrapped.Streams[i]
		m.Handler = s.stream(desc.ServiceName, m)
	}
	s.grpc.RegisterService(&wrapped, implementation)
}

func (s *Server) unary(service, method string, handler grpc.MethodHandler) grpc.MethodHandler {
	fullMethod := fmt.Sprintf("/%s/%s", service, method)
	if !slices.Contains(available[service], method) {
		handler = unavailableUnary(fullMethod)
	}
	if fullMethod == pb.KV_Put_FullMethodName {
		handler = handlePut
	}
	counters := s.metrics.method(service, method, "unary", s.config.ExtensiveMetrics)
	return func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (response any, err error) {
		begin := time.Now()
		counters.started()
		defer func() {
			if p := recover(); p != nil {
				response, err = nil, s.panicked(fullMethod, p)
			}
			counters.handled(ctx, err, time.Since(begin))
		}()
		if err := s.admitRequest(ctx); err != nil {
			return nil, err
		}
		defer s.requests.give(1)
		return handler(srv, ctx, decode, nil)
	}
}

func (s *Server) stream(service string, desc *grpc.StreamDesc) grpc.StreamHandler {
	fullMethod := fmt.Sprintf("/%s/%s", service, desc.StreamName)
	handler := desc.Handler
	if !slices.Contains(available[service], desc.StreamName) {
		handler = unavailableStream(fullMethod)
	}
	counters := s.metrics.method(service, desc.StreamName, streamType(desc), s.config.ExtensiveMetrics)
	return func(srv any, stream grpc.ServerStream) (err error) {
		begin := time.Now()
		counters.started()
		defer func() {
			if p := recover(); p != nil {
				err = s.panicked(fullMethod, p)
			}
			counters.handled(stream.Context(), err, time.Since(begin))
		}()
		if err := s.admitRequest(stream.Context()); err != nil {
			return err
		}
		if desc.ClientStreams {
			s.requests.give(1) // it stays for as long as its client does, and is not work in progress
		} else {
			defer s.requests.give(1)
		}
		return handler(srv, &countedStream{stream, counters})
	}
}

func streamType(desc *grpc.StreamDesc) string {
	switch {
	case desc.ClientStreams && desc.ServerStreams:
		return "bidi_stream"
	case desc.ClientStreams:
		return "client_stream"
	}
	return "server_stream"
}

// countedStream counts the messages of a stream.
type countedStream struct {
	grpc.ServerStream
	counters *methodMetrics
}

func (s *countedStream) SendMsg(m any) error {
	err := s.ServerStream.SendMsg(m)
	if err == nil {
		s.counters.sent.Inc()
	}
	return err
}

func (s *countedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.counters.received.Inc()
	}
	return err
}

// admitRequest refuses what is over the bound, and what asks for a member that knows a leader where none is known for too
// long. Only without a leader is the request's metadata looked at.
func (s *Server) admitRequest(ctx context.Context) error {
	if !s.requests.take(1) {
		return rpctypes.ErrGRPCRequestTooManyRequests
	}
	if s.group.Leadership().Leader == 0 && requiresLeader(ctx) {
		if err := s.awaitLeader(ctx); err != nil {
			s.requests.give(1)
			return err
		}
	}
	return nil
}

func requiresLeader(ctx context.Context) bool {
	return slices.Equal(metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey), []string{rpctypes.MetadataHasLeader})
}

// panicked ends a request whose handler panicked: a bug of ours costs one request, not the member.
func (s *Server) panicked(fullMethod string, p any) error {
	s.config.Logger.Error("a request's handler panicked", "method", fullMethod, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return status.Errorf(codes.Internal, "balsa: internal error in %s, see the member's log", fullMethod)
}
