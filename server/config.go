package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa/raft"
)

// Config says what a Server serves.
type Config struct {
	// ClusterID, MemberID and Name say who answers.
	ClusterID uint64
	MemberID  raft.MemberID
	Name      string
	// Version is this program's, for those who read a backup.
	Version string
	// ClientURLs are published to the cluster, for clients to find this member at (--advertise-client-urls).
	ClientURLs []string
	// Members are the cluster's members as it was configured: identifier, name, peer URLs. What the group knows goes before it.
	Members []*pb.Member
	// TryPeer, where set, looks who is at the peer URLs of a member that is to be added. An error says that it is somebody else: the
	// member is not added then.
	TryPeer func(ctx context.Context, urls []string) error
	// Group replicates, Store holds the state. Required.
	Group Group
	Store Store
	// Limits bound what clients may ask for.
	Limits Limits
	// KeepAlive is how connections of clients are kept alive.
	KeepAlive KeepAlive
	// WatchProgressInterval is how often a watcher that asked for it is told progress (--watch-progress-notify-interval; 10 min).
	WatchProgressInterval time.Duration
	// LeaderTimeout is how long a stream that requires a leader lives without one. Make it three election timeouts; 3 s.
	LeaderTimeout time.Duration
	// LeaseMinTTL is the shortest time to live of a lease; shorter ones become as long, in whole seconds. Make it one and a
	// half election timeouts, like etcd; 1.5 s.
	LeaseMinTTL time.Duration
	// LeaseTick is how often the leader tells the members how much of their time leases have left, while there are any: by so
	// much a change of leader may prolong them (100 ms). Make it a heartbeat interval.
	LeaseTick time.Duration
	// QuotaBytes is the size, in logical bytes, that the store may reach where this member leads (--quota-backend-bytes); 0 or less is no limit.
	QuotaBytes int64
	// DiskFull, where set, reports whether this member's disk is full: it leads nothing then where another has room, and where too few have room
	// for a majority the leader raises NOSPACE.
	DiskFull func() bool
	// Troubles, where set, is told what an operator must see.
	Troubles TroubleTeller
	// Handlers are served beside the server's own HTTP endpoints, by pattern of http.ServeMux.
	Handlers map[string]http.Handler
	// ExtensiveMetrics adds histograms of all gRPC methods (--metrics=extensive).
	ExtensiveMetrics bool
	// Metrics collects what /metrics shows. Nil makes new ones; make them first (NewMetrics) where the host is to be observed too.
	Metrics *Metrics
	// Logger is told what operators should know. Nil discards it.
	Logger *slog.Logger
}

// KeepAlive says how connections of clients are kept alive. Zero fields take etcd's defaults.
type KeepAlive struct {
	// MinTime is the shortest interval at which a client may ping; one that pings more often is
	// sent away (--grpc-keepalive-min-time; 5 s, which Kubernetes relies on).
	MinTime time.Duration
	// Interval is how long a connection is silent before it is pinged (--grpc-keepalive-interval; 2 h).
	Interval time.Duration
	// Timeout is how long a ping may go unanswered before the connection is closed (--grpc-keepalive-timeout; 20 s).
	Timeout time.Duration
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Group == nil:
		return c, errors.New("server: Config.Group is nil")
	case c.Store == nil:
		return c, errors.New("server: Config.Store is nil")
	case c.MemberID == 0:
		return c, errors.New("server: Config.MemberID is 0")
	}
	c.Limits = c.Limits.withDefaults()
	c.KeepAlive.MinTime = cmp.Or(c.KeepAlive.MinTime, 5*time.Second)
	c.KeepAlive.Interval = cmp.Or(c.KeepAlive.Interval, 2*time.Hour)
	c.KeepAlive.Timeout = cmp.Or(c.KeepAlive.Timeout, 20*time.Second)
	c.WatchProgressInterval = cmp.Or(c.WatchProgressInterval, 10*time.Minute)
	c.LeaseMinTTL = cmp.Or(c.LeaseMinTTL, 1500*time.Millisecond)
	c.LeaseTick = cmp.Or(c.LeaseTick, 100*time.Millisecond)
	c.LeaderTimeout = cmp.Or(c.LeaderTimeout, 3*time.Second)
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
