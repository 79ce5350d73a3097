package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/balsadb/balsa/internal/cluster"
)

// tell tells of an event, and starts a member again where that was wished.
func (d *demo) tell(e cluster.Event) {
	switch e.Kind {
	case cluster.Serves:
		d.serving[e.Member] = true
		d.say("Member %d serves again, %s after its start.", e.Member.Number, milliseconds(e.At.Sub(d.launched[e.Member])))
	case cluster.Leads:
		d.tellLeader(e)
	case cluster.Exited:
		d.tellEnd(e)
	}
}

// lead notes who leads, and reports whether that is news.
func (d *demo) lead(e cluster.Event) bool {
	if e.Term <= d.leader.term {
		return false
	}
	d.former, d.leader = d.leader, leadership{e.Member, e.Term, e.At}
	return true
}

func (d *demo) tellLeader(e cluster.Event) {
	if !d.lead(e) {
		return
	}
	if dead := d.waiting; dead != nil {
		d.waiting = nil
		d.say("Member %d leads in term %d, %s after member %d was gone.", e.Member.Number, e.Term, milliseconds(e.At.Sub(dead.at)), dead.member.Number)
		return
	}
	d.say("Member %d leads in term %d.", e.Member.Number, e.Term)
}

func (d *demo) tellEnd(e cluster.Event) {
	m, served := e.Member, d.serving[e.Member]
	d.serving[m] = false
	d.say("Member %d is gone (%s). %s", m.Number, e.Exit, d.consequence(e))
	switch {
	case !served:
		d.say("It did not get to serving: %s", e.Said)
	case d.options.Restart:
		d.restart(m)
	default:
		d.say("Type  restart %d  to start it again.", m.Number)
	}
}

// consequence says what the end of a member means to the others.
func (d *demo) consequence(e cluster.Event) string {
	up := 0
	for _, m := range d.cluster.Members {
		if m.Running() {
			up++
		}
	}
	led := d.leader.member == e.Member
	if led {
		d.waiting = &death{e.Member, e.At}
	}
	switch {
	case up <= members/2:
		return fmt.Sprintf("%d of %d are left, which is no majority: nothing can be written until another is back.", up, members)
	case led:
		return fmt.Sprintf("It was the leader of term %d.", d.leader.term)
	case d.former.member == e.Member && d.leader.since.After(e.At.Add(-time.Second)):
		// The others were faster to elect than the system to tell us of the end.
		return fmt.Sprintf("It was the leader; member %d leads in term %d, %s after.",
			d.leader.member.Number, d.leader.term, milliseconds(d.leader.since.Sub(e.At)))
	}
	return fmt.Sprintf("It was a follower; member %d goes on leading in term %d.", d.leader.member.Number, d.leader.term)
}

func (d *demo) restart(m *cluster.Member) {
	d.launched[m] = time.Now()
	if err := m.Launch(); err != nil {
		d.say("Member %d cannot be started: %v", m.Number, err)
		return
	}
	d.say("Member %d starts, as process %d.", m.Number, m.PID())
}

// introduce shows who the members are, and what to try.
func (d *demo) introduce() {
	d.say("")
	d.table()
	all := strings.Join(d.cluster.Endpoints(), ",")
	leader, other, third := d.roles()
	on := func(m *cluster.Member) string { return "ETCDCTL_ENDPOINTS=" + m.Endpoint + " " + d.options.Command }
	d.say("\n  export ETCDCTL_ENDPOINTS=%s\n\nTry in another terminal:\n", all)
	d.say("  %s ctl put hello world && %s ctl get hello", on(leader), on(other))
	d.say("  kill -9 %d && ETCDCTL_ENDPOINTS=%s,%s %s ctl put hello again", leader.PID(), other.Endpoint, third.Endpoint, d.options.Command)
	d.say("  ETCDCTL_ENDPOINTS=%s %s status", all, d.options.Command)
	d.say("\nThe first writes through one member and reads from another, the second kills the leader and writes again;")
	d.say("then type  restart %d  here, and the third shows how it catches up. Ctrl-C ends everything; help tells more.\n", leader.Number)
}

// table shows the members.
func (d *demo) table() {
	d.say("  %-8s%-14s%-18s%-18s%s", "MEMBER", "ROLE", "CLIENTS", "PEERS", "PID")
	for _, m := range d.cluster.Members {
		d.say("  %-8d%-14s%-18s%-18s%s", m.Number, d.role(m), m.Endpoint, m.Peer, pid(m))
	}
}

func (d *demo) role(m *cluster.Member) string {
	switch {
	case !m.Running():
		return "gone"
	case !d.serving[m]:
		return "starting"
	case d.leader.member == m:
		return fmt.Sprintf("leader (%d)", d.leader.term)
	}
	return "follower"
}

func pid(m *cluster.Member) string {
	if !m.Running() {
		return "-"
	}
	return fmt.Sprint(m.PID())
}

// roles returns the leader and the two others.
func (d *demo) roles() (leader, second, third *cluster.Member) {
	leader = d.leader.member
	if leader == nil {
		leader = d.cluster.Members[0]
	}
	var others []*cluster.Member
	for _, m := range d.cluster.Members {
		if m != leader {
			others = append(others, m)
		}
	}
	return leader, others[0], others[1]
}
