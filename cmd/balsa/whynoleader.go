package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa/internal/tlsfiles"
	"github.com/balsadb/balsa/raft"
)

func whyNoLeaderCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "why-no-leader",
		Short: "Say why a cluster has no leader, what it needs, and what to do",
		Long: "Asks every member that can be reached for its own view (role, term, log, connections, disk), which each gives without a leader, and explains in sentences " +
			"what stands in the way. Members that are not among --endpoints are asked at the addresses that they have published.\n" +
			"The exit code is 0 where there is a leader, and 1 where there is none.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.output != "text" && o.output != "json" {
				return usage(cmd, fmt.Errorf("-o %s: it must be text or json", o.output))
			}
			return runWhyNoLeader(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	o.addFlags(cmd, "text", "text or json")
	return cmd
}

// diagnosis is what why-no-leader says.
type diagnosis struct {
	Leader  string           `json:"leader,omitempty"`
	Why     []string         `json:"why"`
	Needed  string           `json:"needed,omitempty"`
	Do      []string         `json:"do,omitempty"`
	Answers []endpointStatus `json:"answers"`
}

func runWhyNoLeader(ctx context.Context, out io.Writer, o statusOptions) error {
	config, err := o.tls()
	if err != nil {
		return err
	}
	d := diagnose(askAll(ctx, config, o))
	if o.output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(d)
	} else {
		err = d.write(out)
	}
	if d.Leader == "" {
		return errors.Join(err, exitCode(exitError))
	}
	return err
}

func (o *statusOptions) tls() (*tls.Config, error) {
	files := tlsfiles.Files{Cert: o.cert, Key: o.key, TrustedCA: o.ca}
	config, err := files.Client()
	if err == nil {
		config.InsecureSkipVerify = o.skipVerifyNames
	}
	return config, err
}

// askAll asks the endpoints, and then those members that they know of and that were not among them.
func askAll(ctx context.Context, config *tls.Config, o statusOptions) []endpointStatus {
	answers := askEach(ctx, o.endpoints, config, o)
	asked := map[string]bool{}
	for _, a := range answers {
		if a.Status != nil {
			asked[a.Status.Member] = true
		}
	}
	var more []string
	for _, a := range answers {
		if a.Status == nil {
			continue
		}
		for _, s := range a.Status.Seats {
			if !asked[s.Member] && len(s.ClientURLs) > 0 && !slices.Contains(o.endpoints, strings.TrimPrefix(s.ClientURLs[0], "http://")) {
				asked[s.Member] = true
				more = append(more, s.ClientURLs[0])
			}
		}
	}
	return append(answers, askEach(ctx, more, config, o)...)
}

func askEach(ctx context.Context, endpoints []string, config *tls.Config, o statusOptions) []endpointStatus {
	answers := make([]endpointStatus, len(endpoints))
	var group sync.WaitGroup
	for i, endpoint := range endpoints {
		group.Go(func() { answers[i] = askStatus(ctx, endpoint, config, o) })
	}
	group.Wait()
	return answers
}

func (d *diagnosis) write(out io.Writer) error {
	for _, text := range d.Why {
		fmt.Fprintln(out, text)
	}
	if d.Needed != "" {
		fmt.Fprintf(out, "\nneeded: %s\n", d.Needed)
	}
	for _, text := range d.Do {
		fmt.Fprintf(out, "do: %s\n", text)
	}
	return nil
}

func (d *diagnosis) why(format string, args ...any) {
	d.Why = append(d.Why, fmt.Sprintf(format, args...))
}
func (d *diagnosis) do(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(d.Do, text) {
		d.Do = append(d.Do, text)
	}
}

// diagnose explains what the members say of themselves. It goes from what stops an election for certain to what only may.
func diagnose(answers []endpointStatus) *diagnosis {
	d := &diagnosis{Answers: answers, Why: []string{}}
	views := map[string]*memberStatus{}
	var newest *memberStatus
	for _, a := range answers {
		if a.Status == nil {
			continue
		}
		views[a.Status.Member] = a.Status
		if newest == nil || a.Status.Configuration > newest.Configuration {
			newest = a.Status
		}
	}
	if newest == nil {
		d.why("no member answered: %s", strings.Join(failures(answers), "; "))
		d.do("see whether the servers run and the endpoints are right: balsa doctor")
		return d
	}
	var voters []seatStatus
	for _, s := range newest.Seats {
		if s.Votes {
			voters = append(voters, s)
		}
	}
	quorum := len(voters)/2 + 1
	if d.leads(views, voters, quorum) {
		return d
	}
	d.Needed = fmt.Sprintf("%d of the %d members that vote (%s), connected with each other", quorum, len(voters), seatNames(voters))
	able := d.ableVoters(views, voters, answers)
	d.differ(views, newest)
	switch {
	case len(able) < quorum:
		d.why("%d of the %d members that vote can take part, and an election needs %d: there is no majority", len(able), len(voters), quorum)
		d.do("bring members back until %d take part; only if that can never be, make a new cluster of what is left: balsa recover", quorum)
	case !d.connected(able, quorum):
		d.do("mend the network between these members' peer URLs, in both directions (firewalls, routes, DNS, certificates)")
	default:
		d.slow(able)
	}
	return d
}

// leads reports whether a member leads that a majority follows.
func (d *diagnosis) leads(views map[string]*memberStatus, voters []seatStatus, quorum int) bool {
	for _, v := range views {
		if v.Role != "leader" {
			continue
		}
		followers := 0
		for _, s := range voters {
			if other := views[s.Member]; other != nil && other.Term == v.Term && other.Leader == v.Name {
				followers++
			}
		}
		connected := 1
		for _, f := range v.Followers {
			if f.Connected && slices.ContainsFunc(voters, func(s seatStatus) bool { return s.Member == f.Member }) {
				connected++
			}
		}
		if followers >= quorum || connected >= quorum {
			d.Leader = v.Name
			d.why("there is a leader: %s, in term %d", v.Name, v.Term)
			return true
		}
		d.why("%s says that it leads term %d, and a majority does not follow it: it will step down", v.Name, v.Term)
	}
	return false
}

// ableVoters returns those who could take part in an election, and says why the others cannot.
func (d *diagnosis) ableVoters(views map[string]*memberStatus, voters []seatStatus, answers []endpointStatus) (able []*memberStatus) {
	for _, s := range voters {
		v := views[s.Member]
		switch {
		case v == nil:
			reached := ""
			for _, other := range views {
				if l := other.link(s.Member); l != nil && l.Connected && l.Receiving {
					reached = " (" + other.Name + " is connected to it: it runs, and only its client address is out of reach from here)"
				}
			}
			d.why("%s did not answer%s", cmp.Or(s.Name, s.Member), reached)
			if reached == "" {
				d.do("start %s, or see why it cannot be reached at %s", cmp.Or(s.Name, s.Member), strings.Join(append(s.ClientURLs, s.PeerURLs...), ", "))
			}
		case v.Fault != "":
			d.why("%s takes part in nothing: %s", v.Name, v.Fault)
			if strings.Contains(v.Fault, "balsa rejoin") {
				d.do("on %s: balsa rejoin, with the flags that it is started with", v.Name)
			}
		default:
			able = append(able, v)
		}
		if v == nil {
			continue
		}
		for _, t := range v.Troubles {
			if !t.Warning {
				d.why("%s has trouble (%s): %s", v.Name, t.Kind, t.Text)
				d.do("%s: %s", v.Name, t.Remedy)
			}
		}
		if v.Stable < v.Last {
			d.why("%s has %d entries that its disk has not made durable yet: who waits for a stalled disk neither leads nor votes", v.Name, v.Last-v.Stable)
		}
	}
	for _, text := range failures(answers) {
		d.why("no answer from %s", text)
	}
	return able
}

func failures(answers []endpointStatus) (texts []string) {
	for _, a := range answers {
		if a.Status == nil {
			texts = append(texts, a.Endpoint+": "+a.Error)
		}
	}
	return texts
}

// differ says whose idea of the members is not the newest.
func (d *diagnosis) differ(views map[string]*memberStatus, newest *memberStatus) {
	for _, v := range views {
		switch {
		case v.Cluster != newest.Cluster:
			d.why("%s belongs to another cluster (%s, and %s to %s): it speaks with none of the others", v.Name, v.Cluster, newest.Name, newest.Cluster)
			d.do("see which of them was started with the wrong --data-dir or --initial-cluster, or was left behind by balsa recover")
		case v.Configuration != newest.Configuration:
			d.why("%s acts by the members of index %d, %s by those of index %d: each counts a majority of its own", v.Name, v.Configuration, newest.Name, newest.Configuration)
		}
	}
}

// connected reports whether some member is connected, in both directions, with enough others for a majority.
func (d *diagnosis) connected(able []*memberStatus, quorum int) bool {
	var broken []string
	most := 0
	for _, v := range able {
		reach := 1
		for _, other := range able {
			if v == other {
				continue
			}
			l := v.link(other.Member)
			if l != nil && l.Connected && l.Receiving {
				reach++
				continue
			}
			text := v.Name + " has no connection to " + other.Name
			switch {
			case l == nil:
				text = v.Name + " does not know " + other.Name
			case l.Connected:
				text = v.Name + " reaches " + other.Name + ", and hears nothing from it"
			case l.Receiving:
				text = v.Name + " hears " + other.Name + ", and does not reach it"
			}
			if l != nil && l.Trouble != "" {
				text += " (" + l.Trouble + ")"
			}
			broken = append(broken, text)
		}
		most = max(most, reach)
	}
	if most >= quorum {
		return true
	}
	d.why("enough members run, and none is connected in both directions with enough of them for a majority")
	for _, text := range broken {
		d.why("%s", text)
	}
	return false
}

// slow names what makes elections fail where nothing stands in their way.
func (d *diagnosis) slow(able []*memberStatus) {
	for _, v := range able {
		for _, l := range v.Links {
			if other := l.RoundTrip * 10; other > v.ElectionTimeout && v.ElectionTimeout > 0 {
				d.why("the round trip from %s to %s takes %.1f ms, and its election timeout is %.0f ms: an answer comes too late for most elections",
					v.Name, cmp.Or(l.Name, l.Member), l.RoundTrip, v.ElectionTimeout)
				d.do("give all members an --election-timeout of at least %.0f ms (ten round trips), and a --heartbeat-interval of a tenth of that", other)
			}
		}
	}
	slices.SortFunc(able, func(a, b *memberStatus) int { return strings.Compare(a.Name, b.Name) })
	var says []string
	for _, v := range able {
		says = append(says, fmt.Sprintf("%s is %s of term %d with a log up to %d, after %d rounds of pre-votes and %d campaigns", v.Name, v.Role, v.Term, v.Last, v.PreVotes, v.Campaigns))
	}
	d.why("a majority runs and is connected, so an election is under way or has just been: %s", strings.Join(says, "; "))
	d.do("ask again in a moment; where terms go on growing, see the logs of these members")
}

func seatNames(seats []seatStatus) string {
	var names []string
	for _, s := range seats {
		names = append(names, cmp.Or(s.Name, s.Member))
	}
	return strings.Join(names, ", ")
}

// seatStatus is a member of the configuration that a member acts by.
type seatStatus struct {
	Name       string   `json:"name,omitempty"`
	Member     string   `json:"member_id"`
	Votes      bool     `json:"votes"`
	PeerURLs   []string `json:"peer_urls,omitempty"`
	ClientURLs []string `json:"client_urls,omitempty"`
}

// linkStatus is a member's connections with another one: Connected from it, Receiving to it.
type linkStatus struct {
	Name      string  `json:"name,omitempty"`
	Member    string  `json:"member_id"`
	Connected bool    `json:"connected"`
	Receiving bool    `json:"receiving"`
	RoundTrip float64 `json:"round_trip_ms,omitempty"`
	Trouble   string  `json:"trouble,omitempty"`
}

func (s *memberStatus) link(member string) *linkStatus {
	i := slices.IndexFunc(s.Links, func(l linkStatus) bool { return l.Member == member })
	if i < 0 {
		return nil
	}
	return &s.Links[i]
}

// fillElection adds what matters for elections.
func (m *member) fillElection(s *memberStatus) {
	membership := m.group.Membership()
	s.Configuration = uint64(membership.Index)
	s.ElectionTimeout = float64(m.plan.election) / float64(time.Millisecond)
	published := map[uint64][]string{}
	for _, p := range m.store.Members() {
		published[p.ID] = p.ClientURLs
	}
	for i := range membership.Seats {
		seat := &membership.Seats[i]
		s.Seats = append(s.Seats, seatStatus{
			Name: m.nameOf(seat.ID), Member: hexID(uint64(seat.ID)), Votes: seat.Role == raft.Voter || seat.Former,
			PeerURLs: strings.Split(seat.Address, ","), ClientURLs: published[uint64(seat.ID)],
		})
	}
	for _, p := range m.transport.Stats().Peers {
		s.Links = append(s.Links, linkStatus{
			Name: m.nameOf(p.Peer), Member: hexID(uint64(p.Peer)), Connected: !p.ConnectedSince.IsZero(), Receiving: !p.ReceivingSince.IsZero(),
			RoundTrip: float64(p.RoundTrip.Microseconds()) / 1000, Trouble: p.Trouble,
		})
	}
}
