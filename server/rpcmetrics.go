package server

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// methodMetrics are one method's counters, looked up once.
type methodMetrics struct {
	calls          prometheus.Counter
	received, sent prometheus.Counter
	byCode         [codes.Unauthenticated + 1]prometheus.Counter
	unary          bool
	took           [2]prometheus.Observer // failed, succeeded; nil where etcd has no such type of request
	handling       prometheus.Observer    // nil but for extensive metrics
}

func (m *Metrics) rpcMetrics() {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	m.rpcStarted = vec("grpc_server_started_total", "Calls that were started.", labels...)
	m.rpcHandled = vec("grpc_server_handled_total", "Calls that ended, however they did.", append(labels, "grpc_code")...)
	m.rpcReceived = vec("grpc_server_msg_received_total", "Messages that were received.", labels...)
	m.rpcSent = vec("grpc_server_msg_sent_total", "Messages that were sent.", labels...)
	m.requestDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "etcd_server_request_duration_seconds",
		Help:    "How long requests take, from their arrival to their answer.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
	}, []string{"type", "success"})
	m.registry.MustRegister(m.requestDuration)
	m.rpcHandling = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "grpc_server_handling_seconds", Help: "How long calls take, until their end.", Buckets: prometheus.DefBuckets,
	}, labels)
	m.registry.MustRegister(m.rpcHandling)
	m.clientReceived = m.counter("etcd_network_client_grpc_received_bytes_total", "Bytes received from clients.")
	m.clientSent = m.counter("etcd_network_client_grpc_sent_bytes_total", "Bytes sent to clients.")
}

// method returns a method's counters.
func (m *Metrics) method(service, method, kind string, extensive bool) *methodMetrics {
	c := &methodMetrics{
		calls:    m.rpcStarted.WithLabelValues(kind, service, method),
		received: m.rpcReceived.WithLabelValues(kind, service, method),
		sent:     m.rpcSent.WithLabelValues(kind, service, method),
		unary:    kind == "unary",
	}
	for code := range c.byCode {
		c.byCode[code] = m.rpcHandled.WithLabelValues(kind, service, method, codes.Code(code).String())
	}
	if c.unary && strings.HasSuffix(service, ".KV") {
		c.took[0] = m.requestDuration.WithLabelValues(method, "false")
		c.took[1] = m.requestDuration.WithLabelValues(method, "true")
	}
	if extensive {
		c.handling = m.rpcHandling.WithLabelValues(kind, service, method)
	}
	return c
}

func (c *methodMetrics) started() { c.calls.Inc() }

// handled counts a call's end. A client that went away is counted as such, whatever it would have been told.
func (c *methodMetrics) handled(ctx context.Context, err error, took time.Duration) {
	code := status.Code(err)
	if err != nil && ctx.Err() == context.Canceled {
		code = codes.Canceled
	}
	if int(code) >= len(c.byCode) {
		code = codes.Unknown
	}
	c.byCode[code].Inc()
	if c.handling != nil {
		c.handling.Observe(took.Seconds())
	}
	if !c.unary {
		return
	}
	c.received.Inc()
	succeeded := 0
	if err == nil {
		succeeded = 1
		c.sent.Inc()
	}
	if observer := c.took[succeeded]; observer != nil {
		observer.Observe(took.Seconds())
	}
}
