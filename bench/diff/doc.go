// Package diff is the differential test: it sends the same stream of requests to etcd and to Balsa and compares every
// answer, field by field, error codes and texts included.
//
//	go test ./diff                       the recorded cases, and random streams for some seconds
//	go test ./diff -long 10m             random streams for ten minutes
//	go test ./diff -seed 7               the streams of one seed
//	go test ./diff -peer etcd            etcd against itself: what differs by nature is masked, and nothing else
//	go test ./diff -record               record what etcd answers to the cases in testdata/cases
//
// A stream is made from a seed (generate.go) as a list of calls (call.go), made on both sides (side.go), and the answers
// are compared as text (answer.go): what cannot be equal is masked (mask.go), and revisions are counted from where the
// stream began, so that a stream needs no fresh servers. What differs is shrunk to few and simple calls (shrink.go) and
// printed in the form of testdata/cases/*.txt, which is where a difference that was found goes once it is understood.
package diff
