package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/internal/etcdflags"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
	"github.com/balsadb/balsa/vfs"
)

// How a member comes back whose disk was wiped, swapped or set back (E21): as a new one in the place of the old one, with its name and its
// addresses. It asks the other members at their peer URLs, and whoever of them hears it has the change made: the new member joins as a
// learner, and takes the old one's seat in the step in which it gets its vote.

func rejoinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rejoin [flags of balsa serve]",
		Short: "Let a member whose disk was wiped, swapped or set back join again, under its name",
		Long: "Takes the flags that the member is started with (or its environment), asks the other members of --initial-cluster to put a new member in its place, " +
			"and makes a data directory for that one. What is in --data-dir is moved aside, and never deleted. Then start the member as always: it is sent " +
			"all data, and votes once it has them.\n" +
			"-o json prints the outcome for programs; --dry-run asks the others what they would do, and changes nothing.",
		Example:            "  balsa rejoin --name=m2 --data-dir=m2.etcd --initial-advertise-peer-urls=http://10.0.0.2:2380 \\\n    --initial-cluster=m1=http://10.0.0.1:2380,m2=http://10.0.0.2:2380,m3=http://10.0.0.3:2380",
		DisableFlagParsing: true, // etcd's flags are Go's, not cobra's
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, dryRun := false, false
			var rest []string
			for i := 0; i < len(args); i++ {
				switch {
				case args[i] == "--help", args[i] == "-h":
					return cmd.Help()
				case args[i] == "--dry-run":
					dryRun = true
				case args[i] == "-o" && i+1 < len(args) && args[i+1] == "json":
					asJSON = true
					i++
				case args[i] == "-o=json", args[i] == "--output=json":
					asJSON = true
				default:
					rest = append(rest, args[i])
				}
			}
			settings, err := etcdflags.Load(rest, os.Environ(), os.ReadFile)
			if err != nil {
				return usage(cmd, err)
			}
			return runRejoin(cmd.Context(), cmd.OutOrStdout(), settings, asJSON, dryRun)
		},
	}
}

// rejoinQuestion is what the member asks; it begins with a brace, which no list of URLs does.
type rejoinQuestion struct {
	Rejoin   bool   `json:"rejoin"`
	Name     string `json:"name"`
	PeerURLs string `json:"peer_urls"`
	DryRun   bool   `json:"dry_run,omitempty"`
	// Cluster is that of the directory that is there, where it can be read.
	Cluster string `json:"cluster_id,omitempty"`
}

// rejoined is what came of it.
type rejoined struct {
	Name     string `json:"name"`
	Cluster  string `json:"cluster_id"`
	Member   string `json:"member_id"`
	Replaces string `json:"replaces,omitempty"`
	DataDir  string `json:"data_dir"`
	Aside    string `json:"moved_aside,omitempty"`
	ToldBy   string `json:"told_by"`
	DryRun   bool   `json:"dry_run,omitempty"`
}

func runRejoin(ctx context.Context, out io.Writer, settings *etcdflags.Settings, asJSON, dryRun bool) error {
	p := &plan{settings: settings, dataDir: settings.String("data-dir")}
	if p.dataDir == "" {
		p.dataDir = settings.String("name") + ".etcd"
	}
	if err := p.planURLs(); err != nil {
		return err
	}
	if err := p.identityFromFlags(settings.String("name")); err != nil {
		return err
	}
	if len(p.identity.Cluster.Members) < 2 {
		return fmt.Errorf("--initial-cluster (%s) names no other member: give it the members that are running", p.identity.Cluster.String())
	}
	if err := p.planTLS(); err != nil {
		return err
	}
	fsys := vfs.NewOS(p.dataDir)
	self := p.identity.Cluster.Named(p.identity.Name)
	question := rejoinQuestion{Rejoin: true, Name: self.Name, PeerURLs: strings.Join(self.PeerURLs, ","), DryRun: dryRun}
	if found, err := datadir.Inspect(fsys, p.dataDir); err == nil && found != nil {
		question.Cluster = hexID(found.Cluster.ID)
	}
	occupied := mustNotExist(p.dataDir) != nil
	if occupied {
		release, err := datadir.Hold(fsys, p.dataDir)
		if err != nil {
			return err
		}
		defer release()
	}
	result := rejoined{Name: self.Name, DataDir: p.dataDir, DryRun: dryRun}
	identity, err := askToRejoin(ctx, p, &question, &result)
	if err != nil {
		return err
	}
	if !dryRun {
		if occupied {
			if result.Aside, err = moveAside(p.dataDir); err != nil {
				return err
			}
		}
		made, err := datadir.Open(vfs.NewOS(p.dataDir), p.dataDir, *identity, rand.Reader)
		if err != nil {
			return err
		}
		if err := made.Close(); err != nil {
			return err
		}
	}
	return result.write(out, asJSON)
}

// moveAside gives a directory another name, under which it stays.
func moveAside(dir string) (string, error) {
	aside := filepath.Clean(dir) + ".aside-" + time.Now().UTC().Format("20060102T150405")
	if _, err := os.Stat(aside); err == nil {
		return "", fmt.Errorf("%s is there already: try again in a second", aside)
	}
	if err := os.Rename(dir, aside); err != nil {
		return "", fmt.Errorf("moving the former data directory aside: %w; where it is a mount, move what is in it, and run this again", err)
	}
	return aside, syncDirectory(filepath.Dir(aside))
}

func (r *rejoined) write(out io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	if r.DryRun {
		_, err := fmt.Fprintf(out, "%s would join cluster %s as a new member in the place of %s (asked: %s); nothing was changed (--dry-run)\n", r.Name, r.Cluster, r.Replaces, r.ToldBy)
		return err
	}
	if r.Aside != "" {
		fmt.Fprintf(out, "what was in %s is now in %s: remove it when you are sure that nobody needs it\n", r.DataDir, r.Aside)
	}
	_, err := fmt.Fprintf(out, "%s joins cluster %s as member %s, in the place of %s. Start it as always: it is a learner until it has all data, and votes then\n",
		r.Name, r.Cluster, r.Member, r.Replaces)
	return err
}

// rejoinAnswer is what a member answers.
type rejoinAnswer struct {
	admission
	Replaces string `json:"replaces"`
}

// askToRejoin asks the others, one after the other, until one has done it.
func askToRejoin(ctx context.Context, p *plan, question *rejoinQuestion, result *rejoined) (*datadir.Identity, error) {
	text, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	why := fmt.Errorf("no member could put a new one in the place of %s", question.Name)
	for i := range p.identity.Cluster.Members {
		other := &p.identity.Cluster.Members[i]
		if other.Name == question.Name {
			continue
		}
		for _, url := range other.PeerURLs {
			identity, err := askOneToRejoin(ctx, p, url, text, question, result)
			if err == nil {
				result.ToldBy = other.Name + " at " + url
				return identity, nil
			}
			why = fmt.Errorf("%w\n%s at %s: %w", why, other.Name, url, err)
		}
	}
	return nil, why
}

func askOneToRejoin(ctx context.Context, p *plan, url string, text []byte, question *rejoinQuestion, result *rejoined) (*datadir.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	reply, err := transport.Inquire(ctx, transport.InquiryConfig{URL: url, ClientTLS: p.peerClient}, text)
	if err != nil {
		return nil, err
	}
	var a rejoinAnswer
	if err := json.Unmarshal(reply, &a); err != nil {
		return nil, fmt.Errorf("its answer cannot be read: %w", err)
	}
	result.Cluster, result.Member, result.Replaces = a.Cluster, a.Member, a.Replaces
	if question.DryRun {
		return nil, nil
	}
	return a.identity(question.Name)
}

// rejoinTime is how long a member tries: less than who asks waits for it.
const rejoinTime = joinTimeout - time.Second

// answerRejoin puts a new member in the place of one that is not connected, and tells whoever asks who he is.
func (m *member) answerRejoin(group *balsa.Group, q *rejoinQuestion) ([]byte, error) {
	if own := hexID(m.dir.Identity.Cluster.ID); q.Cluster != "" && q.Cluster != own {
		return nil, fmt.Errorf("the data directory that is there is of cluster %s, and this is cluster %s: are the flags right? "+
			"if they are, move that directory away, and run this again", q.Cluster, own)
	}
	ctx, cancel := context.WithTimeout(context.Background(), rejoinTime)
	defer cancel()
	for {
		settled := group.Settled()
		seat := m.seatToReplace(&settled.Configuration, q.PeerURLs)
		switch {
		case seat == nil:
			return nil, fmt.Errorf("no member has the peer URLs %s, as far as this one knows: give the very URLs that the member had, or add a new one with `balsa ctl member add`", q.PeerURLs)
		case m.isConnected(seat.ID):
			return nil, fmt.Errorf("member %x at %s is running and connected: stop it first", uint64(seat.ID), q.PeerURLs)
		case seat.Role == raft.Learner && !m.hasJoined(seat.ID): // somebody asked before, and did not get to start it
			return m.admit(&settled.Configuration, seat, seat.Replaces)
		}
		change := balsa.Change{Kind: raft.AddMember, Member: raft.MemberID(drawID()), Address: q.PeerURLs, Replaces: seat.ID}
		next, err := group.ChangeMembers(ctx, balsa.ChangeOptions{From: settled.Index, DryRun: q.DryRun}, change)
		if q.DryRun && err == nil {
			next.Index = settled.Index
		}
		switch {
		case err == nil:
			m.logger.Warn("a new member takes the place of one that has lost its data", "name", q.Name, "peer-urls", q.PeerURLs,
				"member-id", hexID(uint64(change.Member)), "replaces", hexID(uint64(seat.ID)), "dry-run", q.DryRun)
			return m.admit(&next.Configuration, next.Seat(change.Member), seat.ID)
		case ctx.Err() != nil || !errors.Is(err, raft.ErrConfigurationChanged) && !errors.Is(err, raft.ErrChangeUnderWay):
			return nil, fmt.Errorf("the cluster did not take a new member in the place of %x: %w", uint64(seat.ID), err)
		}
		select { // another change is about to end
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// seatToReplace finds who has these URLs: of two, the one that waits to be started.
func (m *member) seatToReplace(c *raft.Configuration, urls string) (found *raft.Seat) {
	for i := range c.Seats {
		seat := &c.Seats[i]
		if seat.ID != m.dir.Identity.Member && seat.Address == urls && (found == nil || seat.Role == raft.Learner) {
			found = seat
		}
	}
	return found
}

func (m *member) isConnected(id raft.MemberID) bool {
	peers := m.transport.Stats().Peers
	i := slices.IndexFunc(peers, func(p transport.PeerStats) bool { return p.Peer == id })
	return i >= 0 && (!peers[i].ConnectedSince.IsZero() || !peers[i].ReceivingSince.IsZero())
}

// hasJoined reports whether a member has ever been up as one of this cluster.
func (m *member) hasJoined(id raft.MemberID) bool {
	if _, met := m.register.Recall(id); met {
		return true
	}
	for _, published := range m.store.Members() {
		if published.ID == uint64(id) {
			return true
		}
	}
	return false
}

func (m *member) admit(c *raft.Configuration, seat *raft.Seat, replaces raft.MemberID) ([]byte, error) {
	a := rejoinAnswer{Replaces: hexID(uint64(replaces)), admission: admission{
		Cluster: hexID(m.dir.Identity.Cluster.ID), Member: hexID(uint64(seat.ID)), Life: hexID(uint64(seat.Life)),
		Configuration: c.Encode(), Names: map[string]string{},
	}}
	for _, published := range m.store.Members() {
		a.Names[hexID(published.ID)] = published.Name
	}
	return json.Marshal(a)
}

func drawID() uint64 {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand does not fail
	}
	return binary.LittleEndian.Uint64(b[:]) | 1
}
