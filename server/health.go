package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// checkTimeout is how long a health check waits for its read.
const checkTimeout = 5 * time.Second

// check is one thing that must be so for a member to be alive, or ready.
type check struct {
	name string
	run  func(context.Context) error
}

// checks is an endpoint: /livez or /readyz.
type checks struct {
	endpoint string // livez
	list     []check
	metrics  *Metrics
}

// liveness holds what a restart of the process could mend: an alarm, or a lost leader, is not of the kind.
func (s *Server) liveness() *checks {
	return &checks{"livez", []check{{"serializable_read", s.checkSerializableRead}}, s.metrics}
}

// readiness holds what a client needs.
func (s *Server) readiness() *checks {
	return &checks{"readyz", []check{
		{"data_corruption", s.checkCorruption},
		{"serializable_read", s.checkSerializableRead},
		{"linearizable_read", s.checkLinearizableRead},
		{"non_learner", func(context.Context) error {
			if s.isLearner() {
				return errors.New("not supported for learner")
			}
			return nil
		}},
	}, s.metrics}
}

func (s *Server) checkSerializableRead(ctx context.Context) error {
	if err := s.recovered(ctx); err != nil {
		return err
	}
	_, err := s.store.Range(ctx, &pb.RangeRequest{Key: []byte("a"), KeysOnly: true, Limit: 1, Serializable: true})
	return err
}

func (s *Server) checkLinearizableRead(ctx context.Context) error {
	if err := s.barrier(ctx); err != nil {
		return err
	}
	return s.checkSerializableRead(ctx)
}

func (c *checks) install(mux *http.ServeMux) {
	mux.Handle("/"+c.endpoint, get(func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, c.endpoint, c.list) }))
	for _, one := range c.list {
		mux.Handle("/"+c.endpoint+"/"+one.name, get(func(w http.ResponseWriter, r *http.Request) {
			c.serve(w, r, one.name, []check{one})
		}))
	}
}

// serve runs the checks that the request does not exclude, and says how each went where it asks for that or one failed.
func (c *checks) serve(w http.ResponseWriter, r *http.Request, name string, list []check) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	excluded := excluded(r)
	var report strings.Builder
	failed := false
	for _, one := range list {
		if excluded[one.name] {
			continue
		}
		if err := c.run(ctx, one); err != nil {
			failed = true
			fmt.Fprintf(&report, "[-]%s failed: %v\n", one.name, err)
		} else {
			fmt.Fprintf(&report, "[+]%s ok\n", one.name)
		}
	}
	if failed {
		http.Error(w, report.String()+name+" check failed", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Has("verbose") {
		fmt.Fprint(w, report.String())
	}
	fmt.Fprintln(w, "ok")
}

// excluded is what a request for health does not want to know.
func excluded(r *http.Request) map[string]bool {
	names := make(map[string]bool)
	for _, value := range r.URL.Query()["exclude"] {
		for one := range strings.SplitSeq(value, ",") {
			names[one] = true
		}
	}
	return names
}

func (c *checks) run(ctx context.Context, one check) error {
	err := one.run(ctx)
	status := "success"
	if err != nil {
		status = "error"
	}
	c.metrics.checkState.WithLabelValues(c.endpoint, one.name).Set(oneIf(err == nil))
	c.metrics.checks.WithLabelValues(c.endpoint, one.name, status).Inc()
	return err
}

// serveHealth is etcd's older health endpoint: JSON, the alarms, and one linearizable read.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	reason := s.unhealthy(ctx, r.URL.Query().Get("serializable") == "true", excluded(r))
	if reason == "" {
		s.metrics.healthSuccess.Inc()
	} else {
		s.metrics.healthFailure.Inc()
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	body, _ := json.Marshal(struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{fmt.Sprint(reason == ""), reason})
	w.Write(body)
}

// unhealthy returns what is wrong with the member, in etcd's words, or nothing.
func (s *Server) unhealthy(ctx context.Context, serializable bool, excluded map[string]bool) string {
	for _, a := range s.alarms(pb.AlarmType_NONE) {
		if name := a.Alarm.String(); !excluded[name] {
			return "ALARM " + name
		}
	}
	run := s.checkSerializableRead
	if !serializable {
		if s.group.Leadership().Leader == 0 {
			return "RAFT NO LEADER"
		}
		run = s.checkLinearizableRead
	}
	if err := run(ctx); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}
