// Package server answers etcd's clients.
//
// It is the front door of a member: gRPC services of the etcd v3 API and a few HTTP endpoints, on one port,
// in the clear or with TLS.
//
//	connection ──sniff──┬── HTTP/2 ──► grpc ──► KV, Watch, Maintenance, Cluster, health, reflection
//	                    └── HTTP/1 ──► /health /livez /readyz /version /metrics
//
//	write:              validate ──► encode once ──► Group.ProposeEntry ──► result, header
//	linearizable read:  validate ──► Group.ReadBarrier ──► Store.Range ──► header
//	serializable read:  validate ──► Store.Range ──► header
//	watch:              requests ──► Feed ──► responses, in its order, of events that the store has encoded
//
// It knows requests, limits, error texts and connections. How a command is replicated, and how a key is stored, it
// does not know: it sees a Group and a Store (backend.go) and nothing below them. Every member serves
// every request, because the group forwards what only the leader can decide.
//
// What it promises: a request that is refused (wrong, too large, too many) was never proposed; a write whose
// outcome is not known is answered with one of the errors that etcd's clients do not resend writes on (errors.go).
package server
