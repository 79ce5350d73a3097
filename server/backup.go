package server

import (
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa/internal/backup"
)

// backupBlob is how much of a backup goes into a message.
const backupBlob = 64 << 10

// maxBackups is how many backups are sent at a time: each holds on to what is compacted meanwhile.
const maxBackups = 2

// Snapshot streams a backup of what this member has applied. Only Balsa restores it: it is no database file of etcd's.
func (s *maintenanceService) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	if err := s.recovered(stream.Context()); err != nil {
		return err
	}
	if s.backups.Add(1) > maxBackups {
		s.backups.Add(-1)
		return status.Errorf(codes.ResourceExhausted, "balsa: %d backups of this member are being made already: try again later, or ask another member", maxBackups)
	}
	defer s.backups.Add(-1)
	state, err := s.store.Snapshot()
	if err != nil {
		return apiError(err)
	}
	defer state.Close()
	out := &blobs{stream: stream, header: s.header(nil), left: uint64(s.store.Size())}
	info := backup.Info{
		Version: s.config.Version, Made: time.Now().UTC(), Cluster: fmt.Sprintf("%x", s.config.ClusterID), Member: s.config.Name,
		Position: state.Position(),
	}
	if known, ok := state.(interface {
		Revisions() (revision, compacted int64)
	}); ok {
		info.Revision, info.Compacted = known.Revisions()
	}
	err = backup.Write(out, info, state.WriteTo)
	if err == nil {
		err = out.flush(0)
	}
	return apiError(err)
}

// blobs sends what is written to it, in messages of equal size.
type blobs struct {
	stream grpc.ServerStreamingServer[pb.SnapshotResponse]
	header *pb.ResponseHeader
	blob   []byte
	left   uint64 // a guess of how much there is to come: the size is known only at the end
}

var _ io.Writer = (*blobs)(nil)

func (b *blobs) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		part := min(len(p), backupBlob-len(b.blob))
		b.blob = append(b.blob, p[:part]...)
		p = p[part:]
		if len(b.blob) < backupBlob {
			break
		}
		b.left -= min(b.left, backupBlob)
		if err := b.flush(max(b.left, 1)); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (b *blobs) flush(left uint64) error {
	err := b.stream.Send(&pb.SnapshotResponse{Header: b.header, RemainingBytes: left, Blob: b.blob, Version: storageVersion})
	b.blob = b.blob[:0]
	return err
}
