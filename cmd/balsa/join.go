package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/balsadb/balsa/internal/bootstrap"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/transport"
)

// How a member joins a running cluster (--initial-cluster-state=existing with an empty data directory): it asks the members that
// --initial-cluster names, at their peer URLs, who the member with its own peer URLs is. Somebody has added that one before.

// admission is what it is told. Ids are hexadecimal.
type admission struct {
	Cluster       string            `json:"cluster_id"`
	Member        string            `json:"member_id"`
	Life          string            `json:"life"`
	Configuration []byte            `json:"configuration"`
	Names         map[string]string `json:"names"`
}

// joinTimeout is how long one member may take to answer, joinPatience for how long all are asked again.
const joinTimeout, joinPatience = 5 * time.Second, 10 * time.Second

// inquire finds out who this member is.
func (m *member) inquire() error {
	p := m.plan
	self := p.identity.Cluster.Named(p.identity.Name)
	question := strings.Join(self.PeerURLs, ",")
	var why error
	for end := time.Now().Add(joinPatience); ; {
		for i := range p.identity.Cluster.Members {
			other := &p.identity.Cluster.Members[i]
			if other.Name == self.Name {
				continue
			}
			for _, url := range other.PeerURLs {
				identity, err := m.askMember(url, question)
				if err == nil {
					p.identity = *identity
					m.logger.Info("joining a running cluster", "member-id", hexID(uint64(identity.Member)), "cluster-id", hexID(identity.Cluster.ID), "told-by", url)
					return nil
				}
				why = errors.Join(why, fmt.Errorf("%s at %s: %w", other.Name, url, err))
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("joining the cluster: no member could say who this one is; is one of them running, and was this one added with `balsa ctl member add %s --peer-urls=%s`?\n%w",
				self.Name, question, why)
		}
		why = nil
		time.Sleep(joinPatience / 20)
	}
}

// askMember asks one member.
func (m *member) askMember(url, question string) (*datadir.Identity, error) {
	ctx, cancel := context.WithTimeout(context.Background(), joinTimeout)
	defer cancel()
	answer, err := transport.Inquire(ctx, transport.InquiryConfig{URL: url, ClientTLS: m.plan.peerClient, Level: m.maxLevel()}, []byte(question))
	if err != nil {
		return nil, err
	}
	var a admission
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, fmt.Errorf("its answer cannot be read: %w", err)
	}
	return a.identity(m.plan.identity.Name)
}

// identity is what the data directory remembers of an admission.
func (a *admission) identity(name string) (*datadir.Identity, error) {
	configuration, err := raft.DecodeConfiguration(a.Configuration)
	if err != nil {
		return nil, err
	}
	id := &datadir.Identity{Name: name, Joined: a.Configuration}
	for _, number := range []struct {
		text string
		into *uint64
	}{{a.Cluster, &id.Cluster.ID}, {a.Member, (*uint64)(&id.Member)}, {a.Life, (*uint64)(&id.Life)}} {
		if *number.into, err = strconv.ParseUint(number.text, 16, 64); err != nil {
			return nil, fmt.Errorf("its answer cannot be read: %w", err)
		}
	}
	if seat := configuration.Seat(id.Member); seat == nil || seat.Life != id.Life || id.Cluster.ID == 0 {
		return nil, fmt.Errorf("its answer contradicts itself: member %x of cluster %x", uint64(id.Member), id.Cluster.ID)
	}
	for i := range configuration.Seats {
		seat := &configuration.Seats[i]
		member := bootstrap.Member{ID: seat.ID, Name: a.Names[hexID(uint64(seat.ID))], PeerURLs: strings.Split(seat.Address, ",")}
		if seat.ID == id.Member {
			member.Name = name
		}
		id.Cluster.Members = append(id.Cluster.Members, member)
	}
	return id, nil
}

// answerInquiry tells somebody who is to join who it is.
func (m *member) answerInquiry(question []byte) ([]byte, error) {
	group := m.started.Load()
	if group == nil || !group.Recovered() {
		return nil, errors.New("this member is just being started; ask again in a moment")
	}
	var rejoins rejoinQuestion
	if json.Unmarshal(question, &rejoins) == nil && rejoins.Rejoin {
		return m.answerRejoin(group, &rejoins)
	}
	settled := group.Settled()
	urls := strings.Split(string(question), ",")
	seat := m.seatToReplace(&settled.Configuration, string(question))
	if seat == nil {
		return nil, fmt.Errorf("no member has the peer URLs %s, as far as this one knows: add it first, and give it the very URLs that it was added with",
			strings.Join(urls, ","))
	}
	a := admission{
		Cluster: hexID(m.dir.Identity.Cluster.ID), Member: hexID(uint64(seat.ID)), Life: hexID(uint64(seat.Life)),
		Configuration: settled.Encode(), Names: map[string]string{},
	}
	for _, published := range m.store.Members() {
		if published.ID == uint64(seat.ID) { // E21
			return nil, fmt.Errorf("member %x at %s has joined before, as %s: start it with the data directory that it had; "+
				"if that is lost, run `balsa rejoin` with the same flags, which puts a new member in its place", uint64(seat.ID), question, published.Name)
		}
		a.Names[hexID(published.ID)] = published.Name
	}
	return json.Marshal(a)
}

// firstConfiguration is what a member's log starts from: what it was told when it joined, or what the flags of a new cluster say.
func firstConfiguration(id *datadir.Identity) (raft.Configuration, error) {
	if id.Joined != nil {
		return raft.DecodeConfiguration(id.Joined)
	}
	var members []raft.Member
	for _, other := range id.Cluster.Members {
		members = append(members, raft.Member{ID: other.ID, Life: 1})
	}
	c := raft.FirstConfiguration(members)
	for _, other := range id.Cluster.Members {
		c.Seat(other.ID).Address = strings.Join(other.PeerURLs, ",")
	}
	return c, nil
}

// removedError is why a member stops that is none any more.
type removedError struct{ reason string }

func (e *removedError) Error() string {
	return "this member was removed from its cluster, and stops: " + e.reason +
		". Its data directory is of no more use; to have a member here again, add one and start it with an empty directory"
}

// onRemoved stops the member.
func (m *member) onRemoved(reason string) {
	select {
	case m.failed <- &removedError{reason}:
	default: // it fails already
	}
}

// onDisowned stops a member whose disk is known not to be what it was.
func (m *member) onDisowned(cause error) {
	select {
	case m.failed <- cause:
	default: // it fails already
	}
}
