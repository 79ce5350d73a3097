package server

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa"
)

// told keeps the troubles that stand.
type told struct {
	mu    sync.Mutex
	stand map[string]balsa.Trouble
}

func (k *told) SetTrouble(t balsa.Trouble) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stand == nil {
		k.stand = map[string]balsa.Trouble{}
	}
	k.stand[t.Kind] = t
}

func (k *told) ClearTrouble(kind string, _ balsa.GroupID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.stand, kind)
}

func (k *told) text(kind string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stand[kind].Text
}

// TestE46NoSpaceAtAServer: a small quota is reached by puts of 4 KiB; everything says so, what makes room goes on, and then writes do.
func TestE46NoSpaceAtAServer(t *testing.T) {
	kvs, group := newStore(t)
	troubles := &told{}
	s, address := start(t, Config{Group: group, Store: kvs, QuotaBytes: 64 << 10, Troubles: troubles, LeaseTick: time.Millisecond})
	client, ctx := newClient(t, address), t.Context()
	await := func(what string, met func() bool) {
		t.Helper()
		for !met() {
			select {
			case <-ctx.Done():
				t.Fatal(what)
			case <-time.After(time.Millisecond):
			}
		}
	}
	await("the quota", func() bool { return kvs.Quota().Bytes == 64<<10 })
	for i := 0; ; i++ {
		if _, err := client.Put(ctx, "k", strings.Repeat("x", 4<<10)); errors.Is(err, rpctypes.ErrNoSpace) {
			break
		} else if err != nil || i > 20 {
			t.Fatal(i, err)
		}
	}
	proposals := group.proposals.Load()
	if _, err := client.Put(ctx, "k", ""); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Error("a put:", err)
	}
	if _, err := client.Txn(ctx).Then(clientv3.OpPut("k", "")).Commit(); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Error("a transaction with a put:", err)
	}
	if _, err := client.Grant(ctx, 100); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Error("a grant:", err)
	}
	if group.proposals.Load() != proposals {
		t.Error("what is refused went into the log")
	}
	list, err := client.AlarmList(ctx)
	if err != nil || len(list.Alarms) != 1 || list.Alarms[0].MemberID != 1 || list.Alarms[0].Alarm != pb.AlarmType_NOSPACE {
		t.Errorf("the alarms are %v, %v", list, err)
	}
	if s, err := client.Status(ctx, address); err != nil || !slices.Equal(s.Errors, []string{"memberID:1 alarm:NOSPACE"}) || s.DbSizeQuota != 64<<10 {
		t.Errorf("the status is %v, %v", s, err)
	}
	for target, want := range map[string]string{
		"/health": `{"health":"false","reason":"ALARM NOSPACE"}`, "/health?exclude=NOSPACE": `{"health":"true","reason":""}`,
		"/livez": "ok\n", "/readyz": "ok\n",
	} {
		if code, body, _ := request(s, http.MethodGet, target); body != want || (code == 200) != (target != "/health") {
			t.Errorf("GET %s: %d %s", target, code, body)
		}
	}
	_, metrics, _ := request(s, http.MethodGet, "/metrics")
	for _, line := range []string{"etcd_server_quota_backend_bytes 65536", `etcd_debugging_server_alarms{alarm_type="NOSPACE",server_id="1"} 1`} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	await("the troubles", func() bool {
		return strings.Contains(troubles.text(TroubleNoSpace), "NOSPACE") && strings.Contains(troubles.text(TroubleQuota), "95%")
	})

	if _, err := client.Get(ctx, "k"); err != nil {
		t.Error("a read:", err)
	}
	if _, err := client.Delete(ctx, "k"); err != nil {
		t.Error("a deletion:", err)
	}
	if _, err := client.Compact(ctx, kvs.Revision()); err != nil {
		t.Error("a compaction:", err)
	}
	if _, err := client.Put(ctx, "k", ""); err != nil {
		t.Error("a put once there is room:", err)
	}
	await("the end of the troubles", func() bool { return troubles.text(TroubleNoSpace)+troubles.text(TroubleQuota) == "" })
}

// TestAlarmsOfAnOperator stand until they are disarmed.
func TestAlarmsOfAnOperator(t *testing.T) {
	m := startStore(t)
	client, ctx := newClient(t, m.address), t.Context()
	ask := pb.NewMaintenanceClient(dial(t, m.address))
	alarm := func(action pb.AlarmRequest_AlarmAction, member uint64, kind pb.AlarmType, want int) {
		t.Helper()
		response, err := ask.Alarm(ctx, &pb.AlarmRequest{Action: action, MemberID: member, Alarm: kind})
		if err != nil || len(response.Alarms) != want || response.Header.GetMemberId() != 1 {
			t.Errorf("%v of %v for %d: %v, %v", action, kind, member, response, err)
		}
	}
	alarm(pb.AlarmRequest_DEACTIVATE, 1, pb.AlarmType_NOSPACE, 0)
	alarm(pb.AlarmRequest_ACTIVATE, 1, pb.AlarmType_CORRUPT, 1)
	alarm(pb.AlarmRequest_ACTIVATE, 2, pb.AlarmType_NOSPACE, 1)
	alarm(pb.AlarmRequest_GET, 0, pb.AlarmType_NONE, 2)
	alarm(pb.AlarmRequest_GET, 0, pb.AlarmType_CORRUPT, 1)
	if _, err := client.Delete(ctx, "k"); !errors.Is(err, rpctypes.ErrCorrupt) {
		t.Error("a deletion under CORRUPT:", err)
	}
	if code, body, _ := request(m.server, http.MethodGet, "/readyz/data_corruption"); code != 503 || !strings.Contains(body, "alarm activated: CORRUPT") {
		t.Error(code, body)
	}
	if disarmed, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil || len(disarmed.Alarms) != 2 {
		t.Error(disarmed, err)
	}
	if _, err := client.Put(ctx, "k", "v"); err != nil {
		t.Error(err)
	}
	for _, r := range []*pb.AlarmRequest{{Action: 9}, {Action: pb.AlarmRequest_ACTIVATE, Alarm: 64}} {
		if _, err := ask.Alarm(ctx, r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", r, err)
		}
	}
}
