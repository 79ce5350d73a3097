package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func (f *fixture) tryPut(key string, bytes int) error {
	f.t.Helper()
	_, err := f.apply(EncodePut(&pb.PutRequest{Key: []byte(key), Value: make([]byte, bytes)}))
	return err
}

func (f *fixture) wantAlarms(want ...Alarm) {
	f.t.Helper()
	if got := f.store.Alarms(); !slices.Equal(got, want) {
		f.t.Fatalf("the alarms are %v, not %v", got, want)
	}
	f.sameElsewhere()
}

// sameElsewhere: a member that gets a snapshot, and one that starts again, have the alarms, the quota and the digest.
func (f *fixture) sameElsewhere() {
	f.t.Helper()
	home := engine.NewMemoryHome()
	restored, err := OpenHome(home, Options{Group: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	digest, at := f.store.Digest()
	if err := restored.Restore(at, bytes.NewReader(f.snapshot())); err != nil {
		f.t.Fatal(err)
	}
	again, err := Open(f.engine, Options{Group: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	for name, s := range map[string]*Store{"from a snapshot": restored, "started again": again} {
		if got, _ := s.Digest(); got != digest || !slices.Equal(s.Alarms(), f.store.Alarms()) || s.Quota() != f.store.Quota() {
			f.t.Errorf("%s: alarms %v, quota %v, digest %v; it was %v, %v, %v", name,
				s.Alarms(), s.Quota(), got, f.store.Alarms(), f.store.Quota(), digest)
		}
	}
}

// TestE46QuotaRefusesWhatGrowsAndRecoversByItself: the write that would exceed it is the first to be refused, deletions and compactions
// go on, and once a compaction has made room down to nine tenths writes are taken again.
func TestE46QuotaRefusesWhatGrowsAndRecoversByItself(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	raised := Alarm{7, pb.AlarmType_NOSPACE, AlarmByQuota}
	if _, err := f.apply(EncodeQuota(1, Quota{Bytes: 10_000, Member: 7}), nil); err != nil {
		t.Fatal(err)
	}
	for i := range 9 { // 1,066 bytes each
		if err := f.tryPut(fmt.Sprint("k", i), 1000); err != nil {
			t.Fatal(i, err)
		}
	}
	f.wantAlarms()
	size, revision := f.store.Size(), f.store.Revision()
	if err := f.tryPut("k9", 1000); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Fatal("the put that exceeds the quota:", err)
	}
	f.wantAlarms(raised)
	if f.store.Size() != size || f.store.Revision() != revision {
		t.Errorf("what was refused has changed the size from %d to %d, the revision from %d to %d", size, f.store.Size(), revision, f.store.Revision())
	}
	small := &pb.PutRequest{Key: []byte("small")}
	if _, err := f.apply(EncodePut(small)); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Error("a small put under the alarm:", err)
	}
	op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: small}}
	inner := &pb.TxnRequest{Failure: []*pb.RequestOp{op}}
	if _, err := f.txn(&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: inner}}}}); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Error("a transaction with a put under the alarm:", err)
	}
	if _, err := f.apply(EncodeLeaseGrant(&pb.LeaseGrantRequest{ID: 1, TTL: 10})); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Error("a grant under the alarm:", err)
	}

	deletion := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("k0")}}}
	if _, err := f.txn(&pb.TxnRequest{Success: []*pb.RequestOp{deletion}}); err != nil {
		t.Error("a deletion in a transaction:", err)
	}
	if err := f.compact(f.store.Revision()); err != nil {
		t.Fatal(err)
	}
	f.wantAlarms() // of nine keys eight are left
	if err := f.tryPut("k9", 800); err != nil {
		t.Error("a put once there is room:", err)
	}
}

// TestQuotaAlarmNeedsSomeRoomToGo: between nine tenths and the whole the alarm stands, unless an operator disarms it; then writes go on, up to
// the quota. A higher quota, and none, take it back as well.
func TestQuotaAlarmNeedsSomeRoomToGo(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	quota := func(bytes int64) {
		t.Helper()
		if _, err := f.apply(EncodeQuota(1, Quota{bytes, 7}), nil); err != nil {
			t.Fatal(err)
		}
	}
	raised := Alarm{7, pb.AlarmType_NOSPACE, AlarmByQuota}
	quota(10_000)
	for f.tryPut("k", 1000) == nil {
	}
	if err := f.tryPut("big", 9000); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Fatal(err)
	}
	quota(10_400) // which is not enough
	f.wantAlarms(raised)
	disarm := EncodeAlarm(pb.AlarmRequest_DEACTIVATE, Alarm{7, pb.AlarmType_NOSPACE, AlarmByOperator}, 0)
	if _, err := f.apply(disarm, nil); err != nil {
		t.Fatal(err)
	}
	f.wantAlarms()
	if err := f.tryPut("little", 100); err != nil {
		t.Error("what is below the quota, once the alarm is disarmed:", err)
	}
	if err := f.tryPut("big", 9000); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Error(err)
	}
	f.wantAlarms(raised)
	quota(20_000)
	f.wantAlarms()
	for f.tryPut("k", 1000) == nil {
	}
	f.wantAlarms(raised)
	quota(0)
	f.wantAlarms()
	if err := f.tryPut("huge", 100_000); err != nil {
		t.Error("without a quota:", err)
	}
}

// TestAlarmCommands walks what the API's actions do, by what stands and who asks.
func TestAlarmCommands(t *testing.T) {
	no, corrupt := pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT
	on, off := pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE
	f := newFixture(t, engine.NewMemory())
	for i, step := range []struct {
		action   pb.AlarmRequest_AlarmAction
		alarm    Alarm
		term     balsa.Term
		answered bool
		err      error
		want     []Alarm
	}{
		{on, Alarm{1, pb.AlarmType_NONE, AlarmByOperator}, 0, false, nil, nil},
		{off, Alarm{1, no, AlarmByOperator}, 0, false, nil, nil},
		{on, Alarm{2, no, AlarmByDisk}, 9, false, ErrStale, nil},
		{on, Alarm{2, no, AlarmByDisk}, 1, true, nil, []Alarm{{2, no, AlarmByDisk}}},
		{on, Alarm{2, no, AlarmByDisk}, 1, true, nil, []Alarm{{2, no, AlarmByDisk}}},
		{on, Alarm{1, no, AlarmByOperator}, 0, true, nil, []Alarm{{1, no, AlarmByOperator}, {2, no, AlarmByDisk}}},
		{off, Alarm{1, no, AlarmByDisk}, 1, false, nil, []Alarm{{1, no, AlarmByOperator}, {2, no, AlarmByDisk}}},
		{on, Alarm{2, no, AlarmByOperator}, 0, true, nil, []Alarm{{1, no, AlarmByOperator}, {2, no, AlarmByOperator}}},
		{off, Alarm{2, no, AlarmByOperator}, 0, true, nil, []Alarm{{1, no, AlarmByOperator}}},
		{on, Alarm{1, corrupt, AlarmByScrub}, 1, true, nil, []Alarm{{1, no, AlarmByOperator}, {1, corrupt, AlarmByScrub}}},
		{off, Alarm{1, corrupt, AlarmByOperator}, 0, true, nil, []Alarm{{1, no, AlarmByOperator}}},
		{pb.AlarmRequest_GET, Alarm{1, no, AlarmByOperator}, 0, false, ErrMalformed, []Alarm{{1, no, AlarmByOperator}}},
		{on, Alarm{1, no, 99}, 0, false, ErrMalformed, []Alarm{{1, no, AlarmByOperator}}},
	} {
		message, err := f.apply(EncodeAlarm(step.action, step.alarm, step.term), nil)
		if !errors.Is(err, step.err) {
			t.Fatalf("step %d: %v", i, err)
		}
		if err == nil {
			answer := message.(*pb.AlarmResponse).Alarms
			listed := len(answer) == 1 && answer[0].MemberID == uint64(step.alarm.Member) && answer[0].Alarm == step.alarm.Type
			if listed != step.answered || !listed && len(answer) > 0 {
				t.Errorf("step %d is answered with %v", i, answer)
			}
		}
		f.wantAlarms(step.want...)
	}
}

func TestCorruptAlarmRefusesAllChanges(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	entry := must(t)
	all := leaseCommands(t)
	f.put("k", "v")
	if _, err := f.apply(EncodeAlarm(pb.AlarmRequest_ACTIVATE, Alarm{1, pb.AlarmType_CORRUPT, AlarmByOperator}, 0), nil); err != nil {
		t.Fatal(err)
	}
	all = append(all, entry(EncodeCompaction(&pb.CompactionRequest{Revision: 2})), entry(EncodeTxn(&pb.TxnRequest{})), EncodeLeaseExpire(1, 1, 1).Payload())
	for _, payload := range all {
		kind := CommandKind(payload)
		f.index++
		batch := &balsa.Batch{Position: balsa.Position{Index: f.index, Term: 1}, Commands: []balsa.Command{{Index: f.index, Term: 1, Payload: payload}}}
		if err := f.store.Apply(batch); err != nil {
			t.Fatal(err)
		}
		_, err := DecodeResult(kind, batch.Commands[0].Result)
		if want := kind != KindLeaseTick; want != errors.Is(err, rpctypes.ErrGRPCCorrupt) {
			t.Errorf("%v under CORRUPT: %v", kind, err)
		}
	}
	if got := f.values(0); got != "k=v" {
		t.Errorf("reads see %q", got)
	}
}

func TestAlarmsAreBounded(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	var err error
	for i := range maxAlarms + 1 {
		_, err = f.apply(EncodeAlarm(pb.AlarmRequest_ACTIVATE, Alarm{balsa.MemberID(i), pb.AlarmType_NOSPACE, AlarmByOperator}, 0), nil)
	}
	if !errors.Is(err, rpctypes.ErrGRPCRequestTooManyRequests) || len(f.store.Alarms()) != maxAlarms {
		t.Errorf("%d alarms: %v", len(f.store.Alarms()), err)
	}
}

// TestSnapshotWithAnotherAlarmIsRefused: the digest covers them.
func TestSnapshotWithAnotherAlarmIsRefused(t *testing.T) {
	f := newFixture(t, engine.NewMemory())
	if _, err := f.apply(EncodeAlarm(pb.AlarmRequest_ACTIVATE, Alarm{1, pb.AlarmType_NOSPACE, AlarmByOperator}, 0), nil); err != nil {
		t.Fatal(err)
	}
	key := string(f.store.alarmKey(&Alarm{Member: 1, Type: pb.AlarmType_NOSPACE}))[groupSize:]
	drop := func(all [][2][]byte) [][2][]byte {
		return slices.DeleteFunc(all, func(r [2][]byte) bool { return string(r[0]) == key })
	}
	asItIs := func(*Digest) {}
	s, err := OpenHome(engine.NewMemoryHome(), Options{Group: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, at := f.store.Digest()
	err = s.Restore(at, bytes.NewReader(forge(t, f.snapshot(), asItIs, drop)))
	if err == nil || !strings.Contains(err.Error(), "alarms") {
		t.Errorf("a snapshot without its alarm: %v", err)
	}
}
