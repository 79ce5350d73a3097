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
	troubles TroubleTeller

	proposing atomic.Bool
	level     int64 // the warning that stands, in percent
	told      map[pb.AlarmType]bool
}

func newWarden(s *Server) *warden {
	return &warden{
		group: s.group, store: s.store, self: s.config.MemberID, quota: max(0, s.config.QuotaBytes),
		timeout: s.config.Limits.RequestTimeout, troubles: s.config.Troubles, told: map[pb.AlarmType]bool{},
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
	if l.Role != raft.Leader || w.store.Quota().Bytes == w.quota || w.proposing.Swap(true) {
		return
	}
	entry := store.EncodeQuota(l.Term, store.Quota{Bytes: w.quota, Member: w.self})
	w.group.ProposeEntry(entry, w.timeout, func(balsa.Result, error) { w.proposing.Store(false) })
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
