package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/balsadb/balsa/internal/bootstrap"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/internal/etcdflags"
	"github.com/balsadb/balsa/internal/tlsfiles"
	"github.com/balsadb/balsa/vfs"
)

// plan is one start of one member, thought through: all that can be known without a change on disk. Whatever is wrong with
// the flags, the files that they name or the data directory is found while it is made.
type plan struct {
	settings  *etcdflags.Settings
	dataDir   string
	identity  datadir.Identity
	restart   bool              // the data directory has an identity already
	joins     bool              // it is to become a member of a running cluster, which says who it is
	recovered *datadir.Recovery // the record of balsa recover, where the data directory came of one

	listenPeer, listenClient, listenMetrics []*url.URL
	advertiseClient                         []*url.URL
	heartbeat, election                     time.Duration
	reluctance                              time.Duration // how much longer than others it waits for an election

	clientTLS              *tls.Config // nil: no listener of clients asks for it
	peerServer, peerClient *tls.Config // nil: peers speak in the clear
}

func newPlan(s *etcdflags.Settings) (*plan, error) {
	p := &plan{settings: s}
	for _, step := range []func() error{p.planURLs, p.planTimes, p.planIdentity, p.planTLS} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plan) planURLs() error {
	for flag, into := range map[string]*[]*url.URL{
		"listen-peer-urls": &p.listenPeer, "listen-client-urls": &p.listenClient,
		"listen-metrics-urls": &p.listenMetrics, "advertise-client-urls": &p.advertiseClient,
	} {
		urls, err := bootstrap.ParseURLs(flag, p.settings.List(flag))
		if err != nil {
			return err
		}
		if len(urls) == 0 && flag != "listen-metrics-urls" {
			return fmt.Errorf("--%s is empty: give at least one URL", flag)
		}
		*into = urls
	}
	if p.settings.Given("listen-client-urls") && !p.settings.Given("advertise-client-urls") {
		return errors.New("--advertise-client-urls is required where --listen-client-urls is given: clients that ask for the members' addresses are told these")
	}
	for _, u := range slices.Concat(p.listenPeer, p.listenClient, p.listenMetrics) {
		if err := listenable(u); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(p.listenPeer, bootstrap.Local) {
		return errors.New("--listen-peer-urls: members reach each other over TCP: use http:// or https://")
	}
	return nil
}

func (p *plan) planTimes() error {
	p.heartbeat, p.election = p.settings.Milliseconds("heartbeat-interval"), p.settings.Milliseconds("election-timeout")
	switch {
	case p.heartbeat <= 0 || p.election <= 0:
		return errors.New("--heartbeat-interval and --election-timeout must be above 0 milliseconds")
	case p.election < 5*p.heartbeat:
		return fmt.Errorf("--election-timeout (%v) must be at least 5 times --heartbeat-interval (%v), so that a few lost heartbeats are not an election", p.election, p.heartbeat)
	case p.settings.Count("leader-priority") > 100:
		return fmt.Errorf("--leader-priority is %d: it is a number from 0 to 100", p.settings.Count("leader-priority"))
	case p.settings.Count("max-learners") == 0:
		return errors.New("--max-learners must be at least 1")
	case p.election > 50*time.Second:
		return fmt.Errorf("--election-timeout (%v) must be at most 50s", p.election)
	}
	p.reluctance = p.election * time.Duration(100-p.settings.Count("leader-priority")) / 100
	return nil
}

// planIdentity finds out who this member is: what the flags say and what the data directory says must agree.
func (p *plan) planIdentity() error {
	name := p.settings.String("name")
	p.dataDir = p.settings.String("data-dir")
	if p.dataDir == "" {
		p.dataDir = name + ".etcd"
	}
	fsys := vfs.NewOS(p.dataDir)
	found, err := datadir.Inspect(fsys, p.dataDir)
	if err == nil {
		err = datadir.CheckSuperseded(fsys, p.dataDir)
	}
	if err == nil {
		p.recovered, err = datadir.ReadRecovery(fsys)
	}
	if err != nil {
		return err
	}
	p.restart = found != nil
	existing := p.settings.String("initial-cluster-state") == "existing"
	if found != nil {
		if p.settings.Given("name") && found.Name != name {
			return fmt.Errorf("data directory %s belongs to another member: it is %s's, and --name says %s; name the directory of %s with --data-dir",
				p.dataDir, found.Name, name, name)
		}
		p.identity = *found
		if existing || found.Joined != nil {
			return nil
		}
		return p.compareWithFlags(found)
	}
	if err := p.identityFromFlags(name); err != nil {
		return err
	}
	if p.joins = existing; p.joins && len(p.identity.Cluster.Members) < 2 {
		return fmt.Errorf("--initial-cluster-state=existing asks to join a running cluster, and --initial-cluster (%s) names none of its members: "+
			"give it what `balsa ctl member add` printed", p.identity.Cluster.String())
	}
	return nil
}

// compareWithFlags looks whether the flags speak of the cluster that a directory is of. As in etcd the directory knows the members, whatever
// --initial-cluster has become since the first start; a token that is given must be the one of then.
func (p *plan) compareWithFlags(found *datadir.Identity) error {
	initial := found.Cluster.String()
	if p.settings.Given("initial-cluster-token") {
		cluster, err := bootstrap.Parse(initial, p.settings.String("initial-cluster-token"))
		if err != nil {
			return err
		}
		return found.Match(&datadir.Identity{Cluster: *cluster, Member: cluster.Named(found.Name).ID, Name: found.Name}, p.dataDir)
	}
	if given := p.settings.String("initial-cluster"); p.settings.Given("initial-cluster") && given != initial {
		p.settings.Notices = append(p.settings.Notices, etcdflags.Notice{Flag: "initial-cluster", Text: "--initial-cluster is not " +
			"what it was at the first start (" + initial + "), and is ignored: the data directory knows the members; `balsa ctl member list` shows them"})
	}
	return nil
}

func (p *plan) identityFromFlags(name string) error {
	advertised, err := bootstrap.ParseURLs("initial-advertise-peer-urls", p.settings.List("initial-advertise-peer-urls"))
	if err != nil {
		return err
	}
	mine := bootstrap.Strings(advertised)
	slices.Sort(mine)
	initial := p.settings.String("initial-cluster")
	if initial == "" {
		var parts []string
		for _, u := range mine {
			parts = append(parts, name+"="+u)
		}
		initial = strings.Join(parts, ",")
	}
	cluster, err := bootstrap.Parse(initial, p.settings.String("initial-cluster-token"))
	if err != nil {
		return err
	}
	self := cluster.Named(name)
	if self == nil {
		return fmt.Errorf("--name is %s, and --initial-cluster (%s) has no member of that name: add %s=%s to it, or correct --name",
			name, cluster, name, strings.Join(mine, ","))
	}
	if !slices.Equal(self.PeerURLs, mine) {
		return fmt.Errorf("--initial-cluster has %s at %s, and --initial-advertise-peer-urls says %s: make them the same",
			name, strings.Join(self.PeerURLs, ","), strings.Join(mine, ","))
	}
	p.identity = datadir.Identity{Cluster: *cluster, Member: self.ID, Name: name}
	return nil
}

// planTLS loads what the URLs' schemes need.
func (p *plan) planTLS() (err error) {
	if slices.ContainsFunc(slices.Concat(p.listenClient, p.listenMetrics), bootstrap.Secure) {
		files := p.tlsFiles("", "client-crl-file", "client-cert-allowed-hostname")
		if p.clientTLS, err = files.Server(); err != nil {
			return fmt.Errorf("listening for clients with TLS: %w", err)
		}
	}
	peers := p.tlsFiles("peer-", "peer-crl-file", "peer-cert-allowed-hostname")
	peers.AllowedCN = p.settings.List("peer-cert-allowed-cn")
	peers.VerifyAddress = peers.ClientCertAuth && !p.settings.Bool("peer-skip-client-san-verification")
	peers.ClientCert, peers.ClientKey = p.settings.String("peer-client-cert-file"), p.settings.String("peer-client-key-file")
	secure := slices.ContainsFunc(p.listenPeer, bootstrap.Secure)
	if secure && !p.allPeers(bootstrap.Secure) || !secure && p.anyPeer(bootstrap.Secure) {
		return errors.New("some peer URLs are https and others http: members speak TLS with all of them or with none; " +
			"make --listen-peer-urls and --initial-cluster all https, or all http")
	}
	if !secure {
		if peers.Given() {
			p.settings.Notices = append(p.settings.Notices, etcdflags.Notice{Warning: true, Flag: "peer-cert-file",
				Text: "the peer URLs are http, so that the certificates for peers are not used"})
		}
		return nil
	}
	if p.peerServer, err = peers.Server(); err != nil {
		return fmt.Errorf("listening for members with TLS: %w", err)
	}
	if p.peerClient, err = peers.Client(); err != nil {
		return fmt.Errorf("dialling members with TLS: %w", err)
	}
	return nil
}

func (p *plan) tlsFiles(prefix, crl, hostnames string) *tlsfiles.Files {
	s := p.settings
	return &tlsfiles.Files{
		Prefix: prefix, Cert: s.String(prefix + "cert-file"), Key: s.String(prefix + "key-file"),
		TrustedCA: s.String(prefix + "trusted-ca-file"), ClientCertAuth: s.Bool(prefix + "client-cert-auth"),
		CRL: s.String(crl), AllowedHost: s.List(hostnames), CipherSuites: s.List("cipher-suites"),
		MinVersion: s.String("tls-min-version"), MaxVersion: s.String("tls-max-version"),
	}
}

func (p *plan) anyPeer(is func(*url.URL) bool) bool {
	for _, m := range p.identity.Cluster.Members {
		for _, text := range m.PeerURLs {
			if u, err := bootstrap.ParseURL(text); err == nil && is(u) {
				return true
			}
		}
	}
	return false
}

func (p *plan) allPeers(is func(*url.URL) bool) bool {
	return !p.anyPeer(func(u *url.URL) bool { return !is(u) }) && !slices.ContainsFunc(p.listenPeer, func(u *url.URL) bool { return !is(u) })
}

// absolute names the data directory for the log.
func (p *plan) absolute() string {
	if path, err := filepath.Abs(p.dataDir); err == nil {
		return path
	}
	return p.dataDir
}
