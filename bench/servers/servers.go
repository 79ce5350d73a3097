package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/balsadb/balsa/internal/cluster"
)

// Options say what to start.
type Options struct {
	Kind    Kind
	Binary  string // "" builds it
	Members int
	// Dir is where a fresh directory for the members' data is made, "" for the system's temporary directory.
	// Either has to be on a disk: syncs cost nothing in memory.
	Dir string
	// Args are added to each member's command line.
	Args []string
}

// Servers is a running cluster of one kind.
type Servers struct {
	*cluster.Cluster
	Kind  Kind
	conns []*grpc.ClientConn
	dir   string
}

// Start starts a cluster and returns once it has a leader that all members know.
func Start(ctx context.Context, o Options) (*Servers, error) {
	if o.Binary == "" {
		binary, err := Build(ctx, o.Kind)
		if err != nil {
			return nil, err
		}
		o.Binary = binary
	}
	dir, err := os.MkdirTemp(o.Dir, "balsa-bench-"+string(o.Kind)+"-")
	if err != nil {
		return nil, err
	}
	if err := OnDisk(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, o.Members, cluster.Options{Binary: o.Binary, Dir: dir, Args: o.Args})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", o.Kind, err), os.RemoveAll(dir))
	}
	s := &Servers{Cluster: c, Kind: o.Kind, dir: dir}
	for _, m := range c.Members {
		conn, err := Dial(m.Endpoint)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.conns = append(s.conns, conn)
	}
	if _, err := s.AwaitLeader(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Dial makes a connection that takes answers of any size.
func Dial(endpoint string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))
}

// OnDisk refuses directories in memory, where durability costs nothing and nothing could be compared.
func OnDisk(dir string) error {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if fs.Type == tmpfs || fs.Type == ramfs {
		return fmt.Errorf("%s is in memory: name a directory on a disk, -dir DIRECTORY or TMPDIR", filepath.Dir(dir))
	}
	return nil
}

// Close ends the members and removes their data.
func (s *Servers) Close() error {
	for _, conn := range s.conns {
		conn.Close()
	}
	return errors.Join(s.Cluster.Stop(), os.RemoveAll(s.dir))
}

// Conn returns a connection to a member, for questions that are not part of a measurement.
func (s *Servers) Conn(member int) *grpc.ClientConn { return s.conns[member] }

// Logs returns the end of each member's log, for error messages.
func (s *Servers) Logs() string {
	var all strings.Builder
	for _, m := range s.Members {
		text, _ := os.ReadFile(m.Log)
		fmt.Fprintf(&all, "--- %s %s\n%s", s.Kind, m.Name, text[max(0, len(text)-4000):])
	}
	return all.String()
}

// AwaitLeader waits until all running members agree on who leads, and returns its number from 0.
func (s *Servers) AwaitLeader(ctx context.Context) (leader int, err error) {
	err = s.AwaitStatus(ctx, func(all []*pb.StatusResponse) (agreed bool) {
		leader, agreed = agreedLeader(all)
		return agreed
	})
	return leader, err
}

// statuses asks every running member; those that are down, or do not answer, are nil.
func (s *Servers) statuses(ctx context.Context) []*pb.StatusResponse {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	all := make([]*pb.StatusResponse, len(s.Members))
	for i, m := range s.Members {
		if m.Running() {
			all[i], _ = pb.NewMaintenanceClient(s.conns[i]).Status(ctx, &pb.StatusRequest{}, grpc.WaitForReady(true))
		}
	}
	return all
}

func agreedLeader(all []*pb.StatusResponse) (member int, agreed bool) {
	id, member := uint64(0), -1
	for i, status := range all {
		switch {
		case status == nil:
			continue
		case status.Leader == 0 || id != 0 && status.Leader != id:
			return 0, false
		}
		id = status.Leader
		if status.Header.MemberId == id {
			member = i
		}
	}
	return member, member >= 0
}

// pause waits a moment before a member is asked again.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(2 * time.Millisecond):
		return nil
	}
}
