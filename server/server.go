package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// Server serves one member's clients, on any number of listeners.
type Server struct {
	config   Config
	group    Group
	store    Store
	metrics  *Metrics
	requests gauge  // in progress
	identity []byte // the unchanging fields of a header, encoded

	grpc   *grpc.Server
	health *health.Server
	http   *http.Server
	// The two servers accept from these, whatever the listener that a connection came from.
	grpcConns, httpConns *handOver

	leader   leaderWatch
	lessor   *lessor
	renewals renewals
	running  context.Context // ends when Stop is called
	end      context.CancelFunc
	stopping chan struct{} // closed when Stop is called
	fenced   chan struct{} // closed when the group works no more

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	silent    map[net.Conn]struct{} // connections that have not said yet what they want
	stopped   bool
	serving   sync.WaitGroup // accept loops, sniffs and the two servers
}

// New returns a server that serves nothing yet: call Serve for each listener, and Stop at the end.
func New(config Config) (*Server, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		config:    config,
		group:     config.Group,
		store:     config.Store,
		metrics:   config.Metrics,
		identity:  encodeIdentity(config.ClusterID, uint64(config.MemberID)),
		requests:  gauge{bound: config.Limits.Requests},
		health:    health.NewServer(),
		grpcConns: newHandOver(),
		httpConns: newHandOver(),
		listeners: make(map[net.Listener]struct{}),
		silent:    make(map[net.Conn]struct{}),
		stopping:  make(chan struct{}),
		fenced:    make(chan struct{}),
	}
	s.running, s.end = context.WithCancel(context.Background())
	s.renewals.propose, s.renewals.start = s.renew, s.serving.Go
	s.lessor = newLessor(s)
	s.metrics.watch(s)
	s.grpc = grpc.NewServer(s.grpcOptions()...)
	s.register()
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: sniffTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnState:         s.httpState,
		ErrorLog:          slog.NewLogLogger(config.Logger.Handler(), slog.LevelDebug),
	}
	s.serving.Go(func() { s.grpc.Serve(s.grpcConns) })
	s.serving.Go(func() { s.http.Serve(s.httpConns) })
	s.serving.Go(s.dispatchEvents)
	s.knowLeader(time.Now()) // there may be one, of whom this member has not heard yet
	s.serving.Go(s.watchGroup)
	s.serving.Go(func() { newWarden(s).run(config.LeaseTick, s.stopping) })
	s.serving.Go(func() { s.lessor.run(config.LeaseTick, s.stopping) })
	return s, nil
}

// streamWorkers is how many goroutines gRPC keeps for requests. Those beyond it get one each of their own, whose stack
// first has to grow.
const streamWorkers = 256

// How much a client may send before it is read: on one stream, and on all of a connection. That the windows are fixed
// also keeps gRPC from measuring each connection, which it does with a ping, and an answer to it, for nearly every
// request of a client that has few under way.
const (
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
)

func (s *Server) grpcOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.Creds(sniffedCredentials{}),
		grpc.MaxRecvMsgSize(s.config.Limits.RequestBytes + grpcOverhead),
		grpc.MaxSendMsgSize(1<<31 - 1),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.MaxConcurrentStreams(s.config.Limits.ConcurrentStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: s.config.KeepAlive.MinTime, PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: s.config.KeepAlive.Interval, Timeout: s.config.KeepAlive.Timeout,
		}),
	}
}

func (s *Server) register() {
	kv := &kvService{Server: s}
	s.registerService(&pb.KV_ServiceDesc, kv)
	s.registerService(&pb.Maintenance_ServiceDesc, &maintenanceService{Server: s})
	s.registerService(&pb.Cluster_ServiceDesc, &clusterService{Server: s})
	s.registerService(&pb.Watch_ServiceDesc, &watchService{Server: s})
	leases := &leaseService{Server: s}
	s.registerService(&pb.Lease_ServiceDesc, leases)
	contenders := queues{s, kv, leases}
	s.registerService(lockDesc(&lockService{contenders}), nil)
	s.registerService(electionDesc(&electionService{contenders}), nil)
	s.registerService(&pb.Auth_ServiceDesc, nil)
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING) // until Publish
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
}

// Serve accepts clients' connections, over TLS where a configuration is given, until Stop is called or the
// listener fails. It returns nil after Stop. The listener is closed in either case.
func (s *Server) Serve(listener net.Listener, config *tls.Config) error {
	defer listener.Close()
	if config != nil {
		config = preferHTTP1(config)
	}
	if !s.enter(listener) {
		return nil
	}
	defer s.serving.Done()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if s.leave(listener) {
				return nil
			}
			return err
		}
		if !s.admit(conn) {
			conn.Close()
			continue
		}
		go s.direct(conn, config)
	}
}

// direct finds out what a new connection is for, and gives it to the server that it is for.
func (s *Server) direct(conn net.Conn, config *tls.Config) {
	defer s.serving.Done()
	sniffed, http2, err := sniff(conn, config)
	s.heard(conn)
	switch {
	case err != nil:
		s.config.Logger.Debug("a client's connection ended before it said what it wants",
			"remote", conn.RemoteAddr().String(), "error", err)
		conn.Close()
	case http2:
		sniffed.received, sniffed.sent = s.metrics.clientReceived, s.metrics.clientSent
		s.grpcConns.give(sniffed)
	default:
		s.httpConns.give(sniffed)
	}
}

func (s *Server) heard(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.silent, conn)
}

// httpState sees to it that a client that has begun an HTTP request, and does not end it, does not hold up Stop.
func (s *Server) httpState(conn net.Conn, state http.ConnState) {
	if state != http.StateNew {
		s.heard(conn)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		conn.Close()
		return
	}
	s.silent[conn] = struct{}{}
}

func (s *Server) enter(listener net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.listeners[listener] = struct{}{}
	s.serving.Add(1)
	return true
}

// leave forgets a listener, and reports whether the server was stopped.
func (s *Server) leave(listener net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, listener)
	return s.stopped
}

func (s *Server) admit(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.silent[conn] = struct{}{}
	s.serving.Add(1)
	return true
}

// Stop refuses new connections and requests, lets those in progress end for as long as ctx allows, and closes
// all connections. It returns once nothing of the server runs any more.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopped {
		close(s.stopping)
		s.end()
	}
	s.stopped = true
	for listener := range s.listeners {
		listener.Close()
	}
	for conn := range s.silent {
		conn.Close()
	}
	s.mu.Unlock()
	s.health.Shutdown()

	graceful := make(chan struct{})
	go func() {
		defer close(graceful)
		s.grpc.GracefulStop()
	}()
	err := s.http.Shutdown(ctx)
	select {
	case <-graceful:
	case <-ctx.Done():
		err = ctx.Err()
		s.grpc.Stop()
		<-graceful
	}
	s.http.Close()
	s.serving.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
