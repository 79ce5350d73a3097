package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/internal/bootstrap"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/server"
	"github.com/balsadb/balsa/store"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// theGroup is the one group that a member takes part in.
const theGroup balsa.GroupID = 1

// member is a running member: all floors of the house, in the order in which they were put on each other.
type member struct {
	plan   *plan
	logger *slog.Logger

	peers, clients, metrics []net.Listener
	dir                     *datadir.Directory
	register                *datadir.Peers // what is remembered of the others
	room                    *balsa.Room    // on its disk
	store                   *store.Store
	transport               *transport.TCP
	observer                *server.Metrics
	host                    *balsa.Host
	group                   *balsa.Group
	started                 atomic.Pointer[balsa.Group] // the group, for who asks from outside
	server                  *server.Server

	failed  chan error     // why it cannot go on
	closers []func() error // run last to first
}

// startMember puts a member together and has it serve. When it fails nothing is left of it; before the ports are its
// own and the directory is locked, nothing is changed on disk.
func startMember(p *plan, logger *slog.Logger) (*member, error) {
	m := &member{plan: p, logger: logger, failed: make(chan error, 1), observer: server.NewMetrics()}
	for _, step := range []func() error{m.listen, m.openDirectory, m.openStore, m.openTransport, m.openHost, m.openServer} {
		if err := step(); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	m.serve()
	return m, nil
}

func (m *member) onClose(f func() error) { m.closers = append(m.closers, f) }

func (m *member) close() error {
	var errs []error
	for _, f := range slices.Backward(m.closers) {
		errs = append(errs, f())
	}
	m.closers = nil
	return errors.Join(errs...)
}

func (m *member) listen() (err error) {
	options := socketOptions{m.plan.settings.Bool("socket-reuse-port"), m.plan.settings.Bool("socket-reuse-address")}
	m.onClose(func() error {
		closeAll(slices.Concat(m.peers, m.clients, m.metrics)) // most are closed by whom they were given to
		return nil
	})
	if m.peers, err = listen("listen-peer-urls", m.plan.listenPeer, options); err != nil {
		return err
	}
	if m.clients, err = listen("listen-client-urls", m.plan.listenClient, options); err != nil {
		return err
	}
	m.metrics, err = listen("listen-metrics-urls", m.plan.listenMetrics, options)
	return err
}

func (m *member) openDirectory() (err error) {
	if m.plan.joins {
		if err := m.inquire(); err != nil {
			return err
		}
	}
	if m.dir, err = datadir.Open(vfs.NewOS(m.plan.dataDir), m.plan.dataDir, m.plan.identity, rand.Reader); err != nil {
		return err
	}
	m.onClose(m.dir.Close)
	m.room = balsa.NewRoom(vfs.NewOS(m.plan.dataDir), reserveName, int64(min(m.plan.settings.Count("disk-reserve-bytes"), 1<<40)))
	if err := m.room.Take(); err != nil {
		return err
	}
	var warning error
	if m.register, warning, err = datadir.OpenPeers(vfs.NewOS(m.plan.dataDir), time.Now); err != nil {
		return err
	}
	if warning != nil {
		m.logger.Warn(warning.Error())
	}
	m.onClose(m.register.Close)
	if m.dir.Mended {
		m.logger.Warn("one of the two copies of identity.json was damaged, missing or an earlier version's, and was written again")
	}
	return nil
}

// reserveName is the file in a data directory that keeps some space.
const reserveName = "reserve"

func (m *member) openStore() (err error) {
	home := pebble.NewHome(filepath.Join(m.plan.dataDir, datadir.StateDir), pebble.Options{Logger: m.logger, NoSpace: m.room.RanOut, OnDamage: m.stateDamaged})
	m.onClose(home.Close)
	if m.store, err = store.OpenHome(home, store.Options{Group: theGroup, OnDamage: m.stateDamaged}); err != nil {
		return err
	}
	m.collectGarbage()
	return nil
}

// stateDamaged has the state rebuilt. What is noticed before the group has started is noticed again.
func (m *member) stateDamaged(err error) {
	if group := m.started.Load(); group != nil {
		group.StateDamaged(err)
	}
}

// collectGarbage has what was compacted removed, beside everything else, for as long as the store is open.
func (m *member) collectGarbage() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.run("removing what was compacted", func() error { return m.store.RunCollector(ctx, store.CollectOptions{}) })
	}()
	m.onClose(func() error {
		cancel()
		<-done
		return nil
	})
}

func (m *member) openTransport() (err error) {
	id := m.dir.Identity
	former, err := formerClusters(m.plan.recovered)
	if err != nil {
		return err
	}
	m.transport, err = transport.NewTCP(transport.TCPConfig{
		Self:      transport.Identity{Cluster: id.Cluster.ID, Member: id.Member, Life: id.Life, DataDir: id.ID},
		Listeners: m.peers, ServerTLS: m.plan.peerServer, ClientTLS: m.plan.peerClient, Logger: m.logger,
		OnRoundTrip: m.observer.PeerRoundTrip, OnInquiry: m.answerInquiry, Former: former, Register: m.register,
		URLs: m.peerURLs, Level: m.maxLevel(),
	})
	if err != nil {
		return err
	}
	m.observer.WatchPeers(id.Member, m.transport.Stats)
	for _, other := range id.Cluster.Members {
		if other.ID == id.Member {
			continue
		}
		if err := m.transport.AddPeer(other.ID, other.PeerURLs); err != nil {
			return errors.Join(err, m.transport.Close())
		}
	}
	return nil // the host closes it
}

// peerURLs are those that this member has as a member, which may have been changed since it joined.
func (m *member) peerURLs() []string {
	group := m.started.Load()
	if group == nil {
		return nil
	}
	settled := group.Settled()
	if seat := settled.Seat(m.dir.Identity.Member); seat != nil && seat.Address != "" {
		return strings.Split(seat.Address, ",")
	}
	return nil
}

// maxLevel is the highest cluster level that this member claims to speak.
func (m *member) maxLevel() balsa.Level {
	return balsa.Level(min(m.plan.settings.Count("max-cluster-level"), uint64(balsa.BuildLevel)))
}

func (m *member) openHost() (err error) {
	id := m.dir.Identity
	m.host, err = balsa.OpenHost(balsa.HostConfig{
		Member: id.Member, Cluster: id.Cluster.ID, DataDir: id.ID, FS: m.logFS(), Dir: datadir.LogDir,
		Transport: m.transport, Room: m.room, Logger: m.logger, Observer: watchful{m.observer, m}, Level: m.maxLevel(),
		SnapshotRate: m.plan.settings.Rate("snapshot-rate"), SnapshotsByLeader: m.plan.settings.String("snapshot-from") == "leader",
		SegmentSize: int64(m.plan.settings.Count("testing-log-segment-bytes")),
	})
	if err != nil {
		return err
	}
	m.onClose(m.host.Close)
	configuration, err := firstConfiguration(&id)
	if err != nil {
		return err
	}
	m.group, err = m.host.StartGroup(balsa.GroupConfig{
		ID: theGroup, Configuration: &configuration, StateMachine: m.store,
		ElectionTimeout: m.plan.election, HeartbeatInterval: m.plan.heartbeat, Reluctance: m.plan.reluctance, OnLeadership: m.onLeadership, OnRemoved: m.onRemoved, OnDisowned: m.onDisowned,
		Limits: m.limits(), RecordedEvents: recordedEvents,
	})
	if err == nil {
		m.started.Store(m.group)
	}
	return err
}

// limits are the group's, as the testing flags want them.
func (m *member) limits() (limits balsa.GroupLimits) {
	if size := m.plan.settings.Count("testing-log-segment-bytes"); size > 0 {
		limits.FlushBytes, limits.KeepLogBytes = int(size/2), 1
	}
	return limits
}

// logFS is the file system of the log, as the testing flags want it.
func (m *member) logFS() vfs.FS {
	var fsys vfs.FS = vfs.NewOS(m.plan.dataDir)
	if m.plan.settings.Bool("testing-hold-unsynced-writes") {
		fsys = vfs.NewUnsynced(fsys)
	}
	if m.plan.settings.Bool("unsafe-no-fsync") {
		fsys = noSync{fsys}
	}
	if file := m.plan.settings.String("testing-fail-log-sync"); file != "" {
		fsys = failSync{fsys, file}
	}
	return fsys
}

func (m *member) onLeadership(l balsa.Leadership) {
	if l.Leader == 0 {
		return // an election is under way: its outcome is worth a line
	}
	m.logger.Info("leadership changed", "role", roleName(l.Role), "term", uint64(l.Term),
		"leader", m.nameOf(l.Leader), "leader-id", hexID(uint64(l.Leader)))
}

func (m *member) nameOf(id balsa.MemberID) string {
	for _, published := range m.store.Members() {
		if published.ID == uint64(id) {
			return published.Name
		}
	}
	for _, other := range m.dir.Identity.Cluster.Members {
		if other.ID == id {
			return other.Name
		}
	}
	return ""
}

func (m *member) openServer() (err error) {
	id, s := m.dir.Identity, m.plan.settings
	var members []*pb.Member
	for _, other := range id.Cluster.Members {
		members = append(members, &pb.Member{ID: uint64(other.ID), Name: other.Name, PeerURLs: other.PeerURLs})
	}
	m.server, err = server.New(server.Config{
		ClusterID: id.Cluster.ID, MemberID: id.Member, Name: id.Name, Version: balsaVersion, Members: members,
		ClientURLs: bootstrap.Strings(m.plan.advertiseClient), Group: m.group, Store: m.store,
		Limits: server.Limits{
			RequestBytes: clamp(s.Count("max-request-bytes")), TxnOps: clamp(s.Count("max-txn-ops")), Learners: clamp(s.Count("max-learners")),
			ConcurrentStreams: uint32(min(s.Count("max-concurrent-streams"), 1<<32-1)),
			RequestTimeout:    5*time.Second + 2*m.plan.election,
		},
		KeepAlive: server.KeepAlive{
			MinTime: s.Duration("grpc-keepalive-min-time"), Interval: s.Duration("grpc-keepalive-interval"), Timeout: s.Duration("grpc-keepalive-timeout"),
		},
		WatchProgressInterval: s.Duration("watch-progress-notify-interval"), LeaderTimeout: 3 * m.plan.election,
		LeaseMinTTL: 3 * m.plan.election / 2, LeaseTick: m.plan.heartbeat,
		QuotaBytes: s.Number("quota-backend-bytes"), Troubles: m.host, DiskFull: m.host.DiskFull,
		ExtensiveMetrics: s.String("metrics") == "extensive",
		Metrics:          m.observer, Logger: m.logger, Handlers: m.handlers(), TryPeer: m.tryPeer,
	})
	if err != nil {
		return err
	}
	m.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		m.server.Stop(ctx)
		return nil
	})
	return nil
}

func clamp(n uint64) int { return int(min(n, 1<<31-1)) }

// serve opens the doors.
func (m *member) serve() {
	for i, listener := range m.clients {
		go m.run("serving clients", func() error { return m.server.Serve(listener, m.tlsOf(bootstrap.Secure(m.plan.listenClient[i]))) })
	}
	for i, listener := range m.metrics {
		config := m.tlsOf(bootstrap.Secure(m.plan.listenMetrics[i]))
		if config != nil {
			listener = tls.NewListener(listener, config)
		}
		web := &http.Server{Handler: m.server.Handler(), ReadHeaderTimeout: 10 * time.Second}
		m.onClose(web.Close)
		go m.run("serving metrics", func() error { return web.Serve(listener) })
	}
}

func (m *member) tlsOf(secure bool) *tls.Config {
	if !secure {
		return nil
	}
	return m.plan.clientTLS
}

// run runs something that ends only when the member is closed, and fails the member where it does not.
func (m *member) run(what string, serve func() error) {
	err := serve()
	if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return
	}
	select {
	case m.failed <- fmt.Errorf("%s: %w", what, err):
	default: // it fails already
	}
}

// awaitReady returns once the member has joined and serves: it holds what its own log knew to be committed, and has
// confirmed with a majority that it is up to date.
func (m *member) awaitReady(ctx context.Context) error {
	select {
	case <-m.group.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := m.server.Publish(ctx); err != nil {
		return err
	}
	m.logger.Info("ready to serve client requests", "name", m.dir.Identity.Name,
		"clients", bootstrap.Strings(m.plan.listenClient), "advertised", bootstrap.Strings(m.plan.advertiseClient))
	return nil
}

// stop ends a member in a friendly way: somebody else leads, what was begun is answered, nothing new is.
func (m *member) stop() error {
	m.logger.Info("stopping: handing over, and answering what has begun")
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if settled := m.group.Settled(); m.group.Leadership().Role == raft.Leader && settled.Voters() > 1 {
		if err := m.group.Transfer(ctx, 0); err != nil {
			m.logger.Info("leadership was not handed over", "reason", err.Error())
		}
	}
	err := m.close()
	if err == nil {
		m.logger.Info("stopped")
	}
	return err
}
