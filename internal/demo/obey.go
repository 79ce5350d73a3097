package demo

import (
	"strconv"

	"github.com/balsadb/balsa/internal/cluster"
)

// obey does what somebody typed, and reports whether that was to stop.
func (d *demo) obey(words []string) (stop bool) {
	if len(words) == 0 {
		return false
	}
	switch verb := words[0]; {
	case verb == "quit" || verb == "exit":
		return true
	case verb == "status" && len(words) == 1:
		d.table()
	case verb == "restart" && len(words) == 2:
		if m := d.named(words[1]); m != nil {
			d.restartAsked(m)
		}
	case verb == "kill" && len(words) == 2:
		if m := d.named(words[1]); m != nil {
			d.kill(m)
		}
	case verb == "help":
		d.help()
	default:
		d.say("That is not a command here.")
		d.help()
	}
	return false
}

func (d *demo) help() {
	d.say("  restart 2   start member 2 again\n  kill 2      kill member 2 (kill -9)\n  status      show the members\n  quit        stop everything")
}

func (d *demo) named(word string) *cluster.Member {
	n, err := strconv.Atoi(word)
	if err != nil || n < 1 || n > members {
		d.say("Members are numbered 1 to %d; %q is none of them.", members, word)
		return nil
	}
	return d.cluster.Members[n-1]
}

func (d *demo) restartAsked(m *cluster.Member) {
	if m.Running() {
		d.say("Member %d runs, as process %d: kill it first (kill %d).", m.Number, m.PID(), m.Number)
		return
	}
	d.restart(m)
}

func (d *demo) kill(m *cluster.Member) {
	if !m.Running() {
		d.say("Member %d is gone already: restart %d starts it.", m.Number, m.Number)
		return
	}
	m.Kill() // its end is an event like any other
}
