package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/balsadb/balsa/internal/backup"
	"github.com/balsadb/balsa/internal/tlsfiles"
	"github.com/balsadb/balsa/store"
)

// backupOptions are the command's flags: etcdctl's, where it has the same.
type backupOptions struct {
	endpoint        string
	cert, key, ca   string
	skipVerifyNames bool
	quiet           bool
	file            string
	progress        io.Writer
}

func backupCommand() *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save the keys of a running cluster into a file, verified (- is standard output)",
		Long: "Asks one member for all that it holds, as of one revision, while it serves. The backup is verified as it arrives, record by record; " +
			"FILE is there only once all of it was good and is on disk.\n" +
			"With - it goes to standard output, and counts only where the exit code is 0. balsa restore makes new members of it, " +
			"balsa verify looks at it again.",
		Example: "  balsa backup before-the-upgrade.backup\n  balsa backup - | ssh vault 'cat > nightly.backup'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file, o.progress = args[0], cmd.ErrOrStderr()
			return runBackup(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	endpoint := "127.0.0.1:2379"
	if first, _, _ := strings.Cut(os.Getenv("ETCDCTL_ENDPOINTS"), ","); first != "" {
		endpoint = first
	}
	flags := cmd.Flags()
	flags.StringVar(&o.endpoint, "endpoint", endpoint, "address of the member to ask; by default the first one of ETCDCTL_ENDPOINTS")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "say nothing where all goes well")
	flags.StringVar(&o.cert, "cert", os.Getenv("ETCDCTL_CERT"), "certificate to show")
	flags.StringVar(&o.key, "key", os.Getenv("ETCDCTL_KEY"), "its key")
	flags.StringVar(&o.ca, "cacert", os.Getenv("ETCDCTL_CACERT"), "certificates of those who may sign the server's certificate")
	flags.BoolVar(&o.skipVerifyNames, "insecure-skip-tls-verify", false, "take any server's certificate (for tests)")
	return cmd
}

func runBackup(ctx context.Context, stdout io.Writer, o backupOptions) error {
	conn, err := o.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	bar := newProgress(o.progress, o.quiet)
	began := time.Now()
	var info backup.Info
	var summary store.SnapshotSummary
	var size int64
	receive := func(to io.Writer) error {
		info, summary, size, err = receiveBackup(ctx, conn, to, bar)
		bar.end()
		return err
	}
	if o.file == "-" {
		err = receive(stdout)
	} else {
		err = writeWhole(o.file, receive)
	}
	if err != nil {
		return fmt.Errorf("backup of %s: %w", o.endpoint, err)
	}
	if !o.quiet {
		fmt.Fprintf(o.progress, "%s of member %s at revision %d: %d keys, digest %v, verified, in %v\n",
			bytesText(size), info.Member, summary.Revision, summary.Keys, summary.Digest, time.Since(began).Round(time.Millisecond))
	}
	return nil
}

func (o *backupOptions) dial() (*grpc.ClientConn, error) {
	address, secure := strings.CutPrefix(o.endpoint, "https://")
	address = strings.TrimPrefix(address, "http://")
	security := insecure.NewCredentials()
	if secure || o.ca != "" || o.cert != "" {
		files := tlsfiles.Files{Cert: o.cert, Key: o.key, TrustedCA: o.ca}
		config, err := files.Client()
		if err != nil {
			return nil, err
		}
		config.InsecureSkipVerify = o.skipVerifyNames
		security = credentials.NewTLS(config)
	}
	return grpc.NewClient(address, grpc.WithTransportCredentials(security))
}

// receiveBackup writes what the member sends, and has it verified on the way.
func receiveBackup(
	ctx context.Context, conn *grpc.ClientConn, to io.Writer, bar *progress,
) (info backup.Info, summary store.SnapshotSummary, size int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewMaintenanceClient(conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return info, summary, 0, plainStatus(err)
	}
	from, into := io.Pipe()
	checked := make(chan error, 1)
	go func() {
		var err error
		info, summary, err = checkBackup(from)
		from.CloseWithError(err) // whoever writes on hears of it
		checked <- err
	}()
	receiving := receiveBlobs(stream, io.MultiWriter(into, to), bar, &size)
	into.CloseWithError(receiving) // nil is the end
	checking := <-checked
	if receiving != nil && !errors.Is(receiving, checking) {
		return info, summary, size, receiving
	}
	return info, summary, size, checking
}

func receiveBlobs(stream grpc.ServerStreamingClient[pb.SnapshotResponse], to io.Writer, bar *progress, size *int64) error {
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return plainStatus(err)
		}
		if _, err := to.Write(part.Blob); err != nil {
			return err
		}
		*size += int64(len(part.Blob))
		bar.show(*size, int64(part.RemainingBytes))
	}
}

// plainStatus takes gRPC's wrapping off what a server said.
func plainStatus(err error) error {
	if s, ok := status.FromError(err); ok {
		return fmt.Errorf("%s: %s", s.Code(), s.Message())
	}
	return err
}

// checkBackup reads a backup to its end and says what does not add up.
func checkBackup(from io.Reader) (backup.Info, store.SnapshotSummary, error) {
	r, err := backup.Open(from)
	if errors.Is(err, backup.ErrForeign) {
		err = fmt.Errorf("%w; a file that etcd made is restored by etcdutl, not here", err)
	}
	if err != nil {
		return backup.Info{}, store.SnapshotSummary{}, err
	}
	summary, err := store.CheckSnapshot(r.Info().Position, r)
	return r.Info(), summary, err
}

// writeWhole has a file written beside its place, and gives it that only when it is whole and on disk.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(file.Name()))
		}
	}()
	if err := write(file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return errors.Join(file.Close(), syncDirectory(filepath.Dir(path)))
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
