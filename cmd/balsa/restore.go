package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/internal/backup"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/internal/etcdflags"
	"github.com/balsadb/balsa/store"
	"github.com/balsadb/balsa/vfs"
)

// defaultBump is by how much a restore raises the revision: more than a cluster gives out between two backups.
const defaultBump = 1_000_000_000

// restoreFlags are those of the server that say who a member is.
var restoreFlags = []struct{ name, usage string }{
	{"name", "name of the member"},
	{"initial-cluster", "all members of the new cluster, as name=peer URL, separated by commas; the same at each of them"},
	{"initial-cluster-token", "token of the new cluster; the same at each member"},
	{"initial-advertise-peer-urls", "peer URLs of this member"},
	{"data-dir", "the data directory to make; NAME.etcd by default"},
}

type restoreOptions struct {
	file   string
	bump   int64
	marked bool
	args   []string // the server's flags
}

func restoreCommand() *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the data directory of a new cluster's member from a backup (- is standard input)",
		Long: "Makes a data directory that holds what the backup holds, for a member of a new cluster. Do the same for each of its members, " +
			"with the same backup, --initial-cluster and --initial-cluster-token, and then start them all with the same flags.\n" +
			"The revision is raised by --bump-revision and compacted there: clients that have seen later revisions than the backup has are not " +
			"told that nothing happened, and their watches end with an error that has them read anew.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			if o.bump < 0 {
				return usage(cmd, errors.New("--bump-revision must not be negative: revisions never go back"))
			}
			if cmd.Flags().Changed("mark-compacted") && o.marked != (o.bump > 0) {
				return usage(cmd, errors.New("--mark-compacted is required where --bump-revision is above 0, and disallowed otherwise: leave it out"))
			}
			for _, f := range restoreFlags {
				if cmd.Flags().Changed(f.name) {
					value, _ := cmd.Flags().GetString(f.name)
					o.args = append(o.args, "--"+f.name+"="+value)
				}
			}
			return runRestore(cmd.OutOrStdout(), cmd.InOrStdin(), o)
		},
	}
	for _, f := range restoreFlags {
		cmd.Flags().String(f.name, "", f.usage)
	}
	cmd.Flags().Int64Var(&o.bump, "bump-revision", defaultBump,
		"by how much the revision is raised: above what the former cluster gave out after the backup; 0 keeps it, for a cluster that no client remembers")
	cmd.Flags().BoolVar(&o.marked, "mark-compacted", true, "compact at the raised revision (always so with --bump-revision)")
	return cmd
}

func runRestore(stdout io.Writer, stdin io.Reader, o restoreOptions) error {
	settings, err := etcdflags.Load(o.args, nil, os.ReadFile)
	if err != nil {
		return err
	}
	p := &plan{settings: settings, dataDir: settings.String("data-dir")}
	if p.dataDir == "" {
		p.dataDir = settings.String("name") + ".etcd"
	}
	if err := p.identityFromFlags(settings.String("name")); err != nil {
		return err
	}
	if err := mustNotExist(p.dataDir); err != nil {
		return err
	}
	from := stdin
	if o.file != "-" {
		file, err := os.Open(o.file)
		if err != nil {
			return err
		}
		defer file.Close()
		from = file
	}
	made, err := makeDirectory(p, from, o.bump)
	if err != nil {
		return fmt.Errorf("restoring %s: %w", o.file, err)
	}
	fmt.Fprintf(stdout, "%s: member %s (%s) of the new cluster %s, with the keys of cluster %s as %s had them at revision %d; its revision is %d now\n"+
		"Start it with the same --name, --initial-cluster and --initial-cluster-token once every member's directory is made.\n",
		p.dataDir, p.identity.Name, hexID(uint64(p.identity.Member)), hexID(p.identity.Cluster.ID), made.info.Cluster, made.info.Member,
		made.info.Revision, made.revision)
	return nil
}

// mustNotExist refuses a directory that holds something, and changes nothing.
func mustNotExist(dir string) error {
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(names) > 0:
		return fmt.Errorf("data directory %s is not empty: a restore makes a new one; name another --data-dir, or move this one away", dir)
	}
	return nil
}

// restored is what came of a restore.
type restored struct {
	info     backup.Info
	revision int64
}

// makeDirectory makes the data directory beside its place, and gives it that when all of it is there and on disk.
func makeDirectory(p *plan, from io.Reader, bump int64) (made restored, err error) {
	parent, name := filepath.Split(filepath.Clean(p.dataDir))
	if parent == "" {
		parent = "."
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return made, err
	}
	temporary, err := os.MkdirTemp(parent, name+".restoring-*")
	if err != nil {
		return made, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	if made, err = fillDirectory(p, temporary, from, bump); err != nil {
		return made, err
	}
	if err := os.Remove(p.dataDir); err != nil && !errors.Is(err, os.ErrNotExist) { // it was empty
		return made, err
	}
	if err := os.Rename(temporary, p.dataDir); err != nil {
		return made, err
	}
	return made, syncDirectory(parent)
}

// origin identifies the state that a member begins with: members that were restored from different backups, or with different
// bumps, are of different clusters, and refuse each other.
func origin(r *backup.Reader, bump int64) uint64 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], r.Origin())
	binary.BigEndian.PutUint64(b[8:], uint64(bump))
	sum := sha256.Sum256(b[:])
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

func fillDirectory(p *plan, dir string, from io.Reader, bump int64) (made restored, err error) {
	r, err := backup.Open(from)
	if errors.Is(err, backup.ErrForeign) {
		err = fmt.Errorf("%w; a file that etcd made is restored by etcdutl, for etcd", err)
	}
	if err != nil {
		return made, err
	}
	made.info = r.Info()
	p.identity.Origin = origin(r, bump)
	p.identity.Cluster.ID = p.identity.Cluster.Restored(p.identity.Origin)
	owned, err := datadir.Open(vfs.NewOS(dir), dir, p.identity, rand.Reader)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, owned.Close()) }()
	home := pebble.NewHome(filepath.Join(dir, datadir.StateDir), pebble.Options{})
	defer func() { err = errors.Join(err, home.Close()) }()
	s, err := store.OpenHome(home, store.Options{Group: theGroup})
	if err != nil {
		return made, err
	}
	if err := s.Restore(made.info.Position, r); err != nil {
		return made, err
	}
	err = s.Rebase(bump)
	made.revision = s.Revision()
	return made, err
}
