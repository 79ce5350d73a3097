// Command counter is a replicated counter over HTTP: a whole program on the public API of Balsa.
//
//	M=1=localhost:7001,2=localhost:7002,3=localhost:7003
//	counter -id 1 -members $M -http localhost:8001 -dir /tmp/counter1 &
//	counter -id 2 -members $M -http localhost:8002 -dir /tmp/counter2 &
//	counter -id 3 -members $M -http localhost:8003 -dir /tmp/counter3 &
//	curl -X POST localhost:8001/add?n=5
//	curl localhost:8002/value
//
// Every member takes additions and answers with current values. Kill one, and the other two go on.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/balsadb/balsa"
)

// counter is the state machine: each command is a number to be added.
type counter struct{ value atomic.Int64 }

// Apply adds the numbers of a batch of commands. The result of each is the sum so far.
func (c *counter) Apply(batch *balsa.Batch) error {
	for i := range batch.Commands {
		command := &batch.Commands[i]
		n, size := binary.Varint(command.Payload)
		if size <= 0 { // the log holds what no version of this program proposes: stop rather than guess
			return fmt.Errorf("the command at index %d is not a number", command.Index)
		}
		command.Result = strconv.AppendInt(nil, c.value.Add(n), 10)
	}
	return nil
}

// server answers HTTP requests on one member.
type server struct {
	group   *balsa.Group
	counter *counter
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add", s.add)
	mux.HandleFunc("GET /value", s.value)
	return mux
}

func (s *server) add(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
	if err != nil {
		http.Error(w, "n should be a whole number, as in /add?n=5", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	result, err := s.group.Propose(ctx, binary.AppendVarint(nil, n))
	switch {
	case errors.Is(err, balsa.ErrOutcomeUnknown): // trying again could add n twice
		http.Error(w, err.Error(), http.StatusGatewayTimeout)
	case err != nil: // nothing was added
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		fmt.Fprintf(w, "%s\n", result.Value)
	}
}

func (s *server) value(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.group.ReadBarrier(ctx); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "%d\n", s.counter.value.Load())
}

// start opens a host and joins the counter's group on it.
func start(options balsa.Options) (*balsa.Host, *server, error) {
	host, err := balsa.Open(options)
	if err != nil {
		return nil, nil, err
	}
	s := &server{counter: &counter{}}
	s.group, err = host.StartGroup(balsa.GroupConfig{ID: 1, StateMachine: s.counter})
	if err != nil {
		return nil, nil, errors.Join(err, host.Close())
	}
	return host, s, nil
}

func parseMembers(text string) (map[balsa.MemberID]string, error) {
	members := map[balsa.MemberID]string{}
	for part := range strings.SplitSeq(text, ",") {
		id, address, found := strings.Cut(part, "=")
		n, err := strconv.ParseUint(id, 10, 64)
		if !found || err != nil || n == 0 {
			return nil, fmt.Errorf("-members: %q should be ID=HOST:PORT, such as 1=localhost:7001", part)
		}
		members[balsa.MemberID(n)] = address
	}
	return members, nil
}

func run() error {
	id := flag.Uint64("id", 0, "this member's number in -members")
	list := flag.String("members", "", "all members, as ID=HOST:PORT,...")
	dir := flag.String("dir", "", "directory for this member's log")
	address := flag.String("http", "localhost:8001", "address to serve HTTP on")
	flag.Parse()
	members, err := parseMembers(*list)
	if err != nil {
		return err
	}
	host, s, err := start(balsa.Options{Dir: *dir, Member: balsa.MemberID(*id), Members: members, Logger: slog.Default()})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return errors.Join(err, host.Close())
	}
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go http.Serve(listener, s.handler())
	<-interrupted.Done()
	return errors.Join(listener.Close(), host.Shutdown(context.Background()))
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
