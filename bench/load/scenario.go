package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/balsadb/balsa/bench/report"
	"github.com/balsadb/balsa/bench/servers"
)

// scenario is what is measured.
type scenario struct {
	name, title string
	clients     int
	leaderOnly  bool    // one endpoint, the leader's; else each client takes all in turn
	rate        float64 // requests a second, of all clients together; 0 for as many as there can be
	preload     int     // keys that are there before
	request     func(*client) error
	watch       *watchLoad
	renews      bool // keeps leases alive
	measure     func(context.Context, *settings, *servers.Servers, scenario) (report.Result, error)
}

// keySpace is from how many keys a put takes one.
const keySpace = 100_000

// valueBytes is the size of values.
const valueBytes = 256

var scenarios = []scenario{
	{name: "put-1", title: "put 256 B, 1 client, all endpoints in turn", clients: 1, request: (*client).put, measure: load},
	{name: "put-100", title: "put 256 B, 100 clients, all endpoints", clients: 100, request: (*client).put, measure: load},
	{name: "put-1000", title: "put 256 B, 1,000 clients, all endpoints", clients: 1000, request: (*client).put, measure: load},
	{name: "put-100-leader", title: "put 256 B, 100 clients, the leader's endpoint", clients: 100, leaderOnly: true, request: (*client).put, measure: load},
	{name: "put-2000-a-second", title: "put 256 B, 2,000 a second by 100 clients, all endpoints", clients: 100, rate: 2000, request: (*client).put, measure: load},
	{name: "read-linearizable", title: "linearizable read of one key, 100 clients, all endpoints", clients: 100, preload: 10_000, request: (*client).readLinearizable, measure: load},
	{name: "read-serializable", title: "serializable read of one key, 100 clients, all endpoints", clients: 100, preload: 10_000, request: (*client).readSerializable, measure: load},
	{name: "watch-one", title: "1,000 watchers on one key, put 256 B, at most 4 puts ahead of them", clients: 8, watch: &watchLoad{watchers: 1000, keys: 1, perTxn: 1, ahead: 4}, measure: watch},
	{name: "watch-one-rate", title: "1,000 watchers on one key, put 256 B, 25 a second", clients: 8, rate: 25, watch: &watchLoad{watchers: 1000, keys: 1, perTxn: 1}, measure: watch},
	{name: "watch-many", title: "10,000 watchers on distinct keys, put 256 B at a hundred of them in each request, at most 4 requests ahead", clients: 8, watch: &watchLoad{watchers: 10_000, keys: 10_000, perTxn: 100, ahead: 4}, measure: watch},
	{name: "watch-many-rate", title: "10,000 watchers on distinct keys, put 256 B at a hundred of them in each request, 50 a second", clients: 8, rate: 50, watch: &watchLoad{watchers: 10_000, keys: 10_000, perTxn: 100}, measure: watch},
	{name: "watch-crowd", title: "100,000 watchers on one member, over 100 streams, each told one event", measure: crowd},
	{name: "leases", title: "10,000 leases kept alive, as often as possible", renews: true, measure: renew},
	{name: "leases-rate", title: "10,000 leases kept alive, each every 3⅓ seconds", rate: 3000, renews: true, measure: renew},
	{name: "failover", title: "kill -9 of the leader until a write succeeds", measure: failover},
	{name: "memory", title: "memory with many keys of 256 B", measure: memory},
}

// runOnce starts fresh servers, measures one scenario on them, and ends them. With profiles it names a directory for them.
func (s *settings) runOnce(ctx context.Context, sc scenario, kind servers.Kind, profiles string) (r report.Result, err error) {
	options := servers.Options{Kind: kind, Binary: s.binaries[kind], Members: 3, Dir: s.dir}
	if profiles != "" {
		options.Args = []string{"--enable-pprof"}
	}
	cluster, err := servers.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, cluster.Logs())
		}
		err = errors.Join(err, cluster.Close())
	}()
	if err := preload(ctx, cluster, sc.preload); err != nil {
		return nil, err
	}
	if profiles != "" {
		return nil, s.profileRun(ctx, cluster, sc, profiles)
	}
	s.measuring = func(context.Context, *servers.Servers) func() { return func() {} }
	return sc.measure(ctx, s, cluster, sc)
}
