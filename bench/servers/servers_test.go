package servers

import (
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestParseMetrics(t *testing.T) {
	got, err := parseMetrics(strings.NewReader("# HELP a b\na 1\nb{x=\"1 2\"} 2\nb{x=\"2\"} 3.5e1\n\nc +Inf\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got["a"] != 1 || got["b"] != 37 || len(got) != 3 {
		t.Errorf("parsed %v", got)
	}
	if _, err := parseMetrics(strings.NewReader("a one\n")); err == nil {
		t.Error("a value that is no number was read")
	}
}

// TestSyncsAreCountedForBoth: two fdatasyncs for a commit of bbolt, one for what Balsa calls a flush.
func TestSyncsAreCountedForBoth(t *testing.T) {
	metrics := map[string]float64{"etcd_disk_wal_fsync_duration_seconds_count": 7, "etcd_disk_backend_commit_duration_seconds_count": 3}
	for kind, wantState := range map[Kind]float64{Etcd: 6, Balsa: 3} {
		if log, state, err := syncs(kind, metrics); err != nil || log != 7 || state != wantState {
			t.Errorf("%s: %v, %v, %v", kind, log, state, err)
		}
	}
	for name := range metrics {
		without := maps.Clone(metrics)
		delete(without, name)
		if _, _, err := syncs(Balsa, without); err == nil {
			t.Errorf("without %s there should be no figure", name)
		}
	}
}

func TestCPUTimeGrows(t *testing.T) {
	for deadline := time.Now().Add(time.Minute); ; {
		used, err := cpuTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if used > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a minute of work took no time")
		}
	}
}

func TestAppliedAndAgreed(t *testing.T) {
	status := func(member, leader, index, applied uint64, revision int64) *pb.StatusResponse {
		return &pb.StatusResponse{
			Header: &pb.ResponseHeader{MemberId: member, Revision: revision}, Leader: leader, RaftIndex: index, RaftAppliedIndex: applied,
		}
	}
	for name, test := range map[string]struct {
		all    []*pb.StatusResponse
		level  bool
		agreed bool
	}{
		"level":              {[]*pb.StatusResponse{status(1, 2, 9, 9, 5), status(2, 2, 9, 9, 5)}, true, true},
		"one has to apply":   {[]*pb.StatusResponse{status(1, 2, 9, 8, 5), status(2, 2, 9, 9, 5)}, false, true},
		"one is behind":      {[]*pb.StatusResponse{status(1, 2, 8, 8, 5), status(2, 2, 9, 9, 5)}, false, true},
		"one has less":       {[]*pb.StatusResponse{status(1, 2, 9, 9, 4), status(2, 2, 9, 9, 5)}, false, true},
		"one is down":        {[]*pb.StatusResponse{nil, status(2, 2, 9, 9, 5)}, true, true},
		"the leader is down": {[]*pb.StatusResponse{status(1, 2, 9, 9, 5), nil}, true, false},
		"two leaders":        {[]*pb.StatusResponse{status(1, 1, 9, 9, 5), status(2, 2, 9, 9, 5)}, true, false},
		"no leader":          {[]*pb.StatusResponse{status(1, 0, 9, 9, 5), status(2, 2, 9, 9, 5)}, true, false},
		"all are down":       {[]*pb.StatusResponse{nil, nil}, false, false},
	} {
		if got := applied(test.all); got != test.level {
			t.Errorf("%s: level %v", name, got)
		}
		if _, got := agreedLeader(test.all); got != test.agreed {
			t.Errorf("%s: a leader all agree on %v", name, got)
		}
	}
}

func TestMemoryIsNoDisk(t *testing.T) {
	if err := OnDisk("/dev/shm"); err == nil {
		t.Skip("/dev/shm is not in memory here")
	} else if !strings.Contains(err.Error(), "in memory") {
		t.Error(err)
	}
}
