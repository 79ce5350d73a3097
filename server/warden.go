package server

import (
	"fmt"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
)

// The warden looks after space. On the leader it sees to it that its own quota is the replicas'; on every member it tells of what an operator
// must see: how full the quota is, and which alarms stand. What is refused, it does not decide: the apply does (package store, alarm.go).

// TroubleTeller keeps what an operator must see: *balsa.Host.
type TroubleTeller interface {
	SetTrouble(balsa.Trouble)
	ClearTrouble(kind string, group balsa.GroupID)
}

// The kinds of trouble that this package tells of.
const (
	TroubleQuota   = "quota"   // a warning: much of the quota is used
	TroubleNoSpace = "nospace" // the alarm stands
	TroubleCorrupt = "corrupt" // the alarm stands
)

// quotaLevels are the parts of the quota, in percent, at which is warned. A warning goes quotaSlack below.
var quotaLevels = [...]int64{70, 85, 95}

const quotaSlack = 2

// warden is driven by turns, one at a time.
type warden struct {
	group    Group
	store    Store
	self     raft.MemberID
	quota    int64 // in bytes, 0 for none
	timeout  time.Duration
	diskFull func() bool
	troubles TroubleTeller

	proposing, transferring atomic.Bool
	patience                int   // turns until leadership may be handed over again
	level                   int64 // the warning that stands, in percent
	told                    map[pb.AlarmType]bool
}

func newWarden(s *Server) *warden {
	return &warden{
		group: s.group, store: s.store, self: s.config.MemberID, quota: max(0, s.config.QuotaBytes),
		timeout: s.config.Limits.RequestTimeout, troubles: s.config.Troubles, diskFull: s.config.DiskFull, told: map[pb.AlarmType]bool{},
	}
}

// run takes a turn at each tick until the server stops.
func (w *warden) run(tick time.Duration, stopping <-chan struct{}) {
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			w.turn()
		case <-stopping:
			return
		}
	}
}

func (w *warden) turn() {
	w.holdQuota()
	if w.diskFull != nil {
		w.flagDisk()
		w.weighDisks()
	}
	if w.troubles != nil {
		w.warn()
		w.tellAlarm(pb.AlarmType_NOSPACE, TroubleNoSpace, "writes are refused: alarm NOSPACE",
			"make room: delete what is not needed and compact, or raise --quota-backend-bytes, or see to full disks; it then ends by itself, unless an operator has raised it (etcdctl alarm disarm)")
		w.tellAlarm(pb.AlarmType_CORRUPT, TroubleCorrupt, "writes are refused: alarm CORRUPT",
			"replicas differ: compare them (balsa status, etcdctl endpoint hashkv), replace those that are wrong, then: etcdctl alarm disarm")
	}
}

// holdQuota puts this member's limit into the log where it leads and the replicas have another.
func (w *warden) holdQuota() {
	l := w.group.Leadership()
	if l.Role == raft.Leader && w.store.Quota().Bytes != w.quota {
		w.propose(store.EncodeQuota(l.Term, store.Quota{Bytes: w.quota, Member: w.self}))
	}
}

// propose puts one command of the warden's into the log at a time; what is not settled by it is tried again next turn.
func (w *warden) propose(entry raft.Entry) {
	if !w.proposing.Swap(true) {
		w.group.ProposeEntry(entry, w.timeout, func(balsa.Result, error) { w.proposing.Store(false) })
	}
}

func (w *warden) alarm(member raft.MemberID, kind pb.AlarmType) (found store.Alarm, stands bool) {
	for _, a := range w.store.Alarms() {
		if a.Member == member && a.Type == kind {
			return a, true
		}
	}
	return found, false
}

// flagDisk tells the others whether this member's disk is full.
func (w *warden) flagDisk() {
	flag := store.Alarm{Member: w.self, Type: store.AlarmDiskFull, Origin: store.AlarmByDisk}
	_, flagged := w.alarm(w.self, flag.Type)
	switch full := w.diskFull(); {
	case full && !flagged:
		w.propose(store.EncodeAlarm(pb.AlarmRequest_ACTIVATE, flag, 0))
	case !full && flagged:
		w.propose(store.EncodeAlarm(pb.AlarmRequest_DEACTIVATE, flag, 0))
	}
}

// weighDisks is the leader's: where a majority of the voters has room a leader whose disk is full hands over to one of them, and else there
// is NOSPACE in the name of each member whose disk is full.
func (w *warden) weighDisks() {
	l := w.group.Leadership()
	if l.Role != raft.Leader {
		return
	}
	var well []raft.MemberID
	voters, full := 0, map[raft.MemberID]bool{}
	seats := w.group.Settled().Seats
	for i := range seats {
		if seats[i].Role != raft.Voter && !seats[i].Former {
			continue
		}
		voters++
		if _, flagged := w.alarm(seats[i].ID, store.AlarmDiskFull); flagged {
			full[seats[i].ID] = true
		} else {
			well = append(well, seats[i].ID)
		}
	}
	scarce := voters > 0 && len(well) <= voters/2
	for i := range seats {
		alarm := store.Alarm{Member: seats[i].ID, Type: pb.AlarmType_NOSPACE, Origin: store.AlarmByDisk}
		if _, stands := w.alarm(alarm.Member, alarm.Type); scarce && full[alarm.Member] && !stands {
			w.propose(store.EncodeAlarm(pb.AlarmRequest_ACTIVATE, alarm, l.Term))
		}
	}
	for _, a := range w.store.Alarms() {
		if a.Type == pb.AlarmType_NOSPACE && a.Origin == store.AlarmByDisk && !(scarce && full[a.Member]) {
			w.propose(store.EncodeAlarm(pb.AlarmRequest_DEACTIVATE, a, l.Term))
		}
	}
	w.stepAside(full[w.self], well)
}

// patienceTurns is how many turns a leader with a full disk waits before it tries again to hand over.
const patienceTurns = 50

func (w *warden) stepAside(full bool, well []raft.MemberID) {
	w.patience = max(0, w.patience-1)
	if !full || len(well) == 0 || w.patience > 0 || w.transferring.Swap(true) {
		return
	}
	w.patience = patienceTurns
	w.group.TransferAsync(well[0], func(error) { w.transferring.Store(false) })
}

// warn tells how full the quota is.
func (w *warden) warn() {
	quota := w.store.Quota().Bytes
	level := int64(0)
	if quota > 0 {
		used := w.store.Size() / max(1, quota/100)
		for _, percent := range quotaLevels {
			if used >= percent || percent <= w.level && used >= percent-quotaSlack {
				level = percent
			}
		}
	}
	if level == w.level {
		return
	}
	w.level = level
	if level == 0 {
		w.troubles.ClearTrouble(TroubleQuota, 0)
		return
	}
	w.troubles.SetTrouble(balsa.Trouble{
		Kind: TroubleQuota, Warning: true,
		Text:   fmt.Sprintf("the database has reached %d%% of its quota of %d bytes; at the quota writes are refused", level, quota),
		Remedy: "delete what is not needed and compact, or raise --quota-backend-bytes",
	})
}

func (w *warden) tellAlarm(kind pb.AlarmType, trouble, text, remedy string) {
	stands := false
	for _, a := range w.store.Alarms() {
		stands = stands || a.Type == kind
	}
	if stands == w.told[kind] {
		return
	}
	w.told[kind] = stands
	if stands {
		w.troubles.SetTrouble(balsa.Trouble{Kind: trouble, Text: text, Remedy: remedy})
	} else {
		w.troubles.ClearTrouble(trouble, 0)
	}
}
