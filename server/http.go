package server

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.etcd.io/etcd/api/v3/version"
)

// Handler returns the HTTP endpoints, for a listener that serves nothing else (--listen-metrics-urls).
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/version", get(s.serveVersion))
	mux.Handle("/health", get(s.serveHealth))
	s.liveness().install(mux)
	s.readiness().install(mux)
	mux.Handle("/metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	for pattern, handler := range s.config.Handlers {
		mux.Handle(pattern, handler)
	}
	return mux
}

// get answers other methods as etcd does.
func get(handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		handler(w, r)
	})
}

func (s *Server) serveVersion(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	body, _ := json.Marshal(version.Versions{Server: version.Version, Cluster: version.APIVersion + ".0", Storage: storageVersion})
	w.Write(body)
}
