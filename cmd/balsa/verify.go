package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/snapshot"
	"github.com/balsadb/balsa/store"
	"github.com/balsadb/balsa/vfs"
	"github.com/balsadb/balsa/wal"
)

func verifyCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "verify PATH",
		Short: "Read all of a stopped member's data directory, or of a backup, and say what is damaged",
		Long: "Reads every record of the log, every block of every table, and the whole state, and compares all of it with its checksums, " +
			"with each other and with the digest that members compare. It changes nothing. PATH is a data directory, whose server must not " +
			"run, or a file that balsa backup or etcdctl snapshot save has made.\n" +
			"The exit code is 0 where all is sound, and 1 where it is not.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usage(cmd, fmt.Errorf("-o %s: it must be text or json", output))
			}
			return runVerify(cmd.Context(), cmd.OutOrStdout(), args[0], output == "json")
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// verdict is what a verification found.
type verdict struct {
	Path     string    `json:"path"`
	Sound    bool      `json:"sound"`
	Findings []finding `json:"findings"`
	Revision int64     `json:"revision,omitempty"`
	Compact  int64     `json:"compact_revision,omitempty"`
	Applied  uint64    `json:"applied_index,omitempty"`
	Digest   string    `json:"digest,omitempty"`
}

// finding is what one part of a verification has looked at, and what was wrong with it.
type finding struct {
	Part    string   `json:"part"`
	Sound   bool     `json:"sound"`
	Looked  string   `json:"looked_at"` // for people
	Damages []string `json:"damages,omitempty"`
}

// maxDamages is how many damages of a part are told one by one.
const maxDamages = 100

func (f *finding) damage(format string, args ...any) {
	f.Sound = false
	switch {
	case len(f.Damages) < maxDamages:
		f.Damages = append(f.Damages, fmt.Sprintf(format, args...))
	case len(f.Damages) == maxDamages:
		f.Damages = append(f.Damages, "and more")
	}
}

func runVerify(ctx context.Context, out io.Writer, path string, asJSON bool) error {
	about, err := os.Stat(path)
	if err != nil {
		return err
	}
	v := &verdict{Path: path}
	if about.IsDir() {
		err = v.directory(ctx)
	} else {
		err = v.backup()
	}
	if err != nil {
		return err
	}
	v.Sound = true
	for _, f := range v.Findings {
		v.Sound = v.Sound && f.Sound
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(v)
	} else {
		err = v.write(out)
	}
	if !v.Sound {
		return errors.Join(err, exitCode(exitError))
	}
	return err
}

func (v *verdict) write(out io.Writer) error {
	for _, f := range v.Findings {
		word := "sound"
		if !f.Sound {
			word = "DAMAGED"
		}
		fmt.Fprintf(out, "%-10s %-8s %s\n", f.Part, word, f.Looked)
		for _, d := range f.Damages {
			fmt.Fprintf(out, "           %s\n", d)
		}
	}
	if v.Digest != "" {
		fmt.Fprintf(out, "revision %d, compacted %d, digest %s\n", v.Revision, v.Compact, v.Digest)
	}
	if !v.Sound {
		_, err := fmt.Fprintf(out, "%s is damaged: do not start a server on it. Where the other members are well, move it away and let this member "+
			"join again; else restore a backup\n", v.Path)
		return err
	}
	_, err := fmt.Fprintf(out, "%s is sound\n", v.Path)
	return err
}

// backup verifies a file.
func (v *verdict) backup() error {
	file, err := os.Open(v.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	f := finding{Part: "backup", Sound: true}
	info, sum, err := checkBackup(file)
	if err != nil {
		f.damage("%v", err)
	}
	if !info.Made.IsZero() {
		f.Looked = fmt.Sprintf("of member %s of cluster %s, made %s: %d keys", info.Member, info.Cluster, info.Made.Format(time.RFC3339), sum.Keys)
	}
	if f.Sound {
		v.Revision, v.Compact, v.Applied, v.Digest = sum.Revision, sum.Compacted, uint64(info.Position.Index), sum.Digest.String()
	}
	v.Findings = append(v.Findings, f)
	return nil
}

// directory verifies a data directory. An error says that it could not be done.
func (v *verdict) directory(ctx context.Context) error {
	fsys := vfs.NewOS(v.Path)
	f := finding{Part: "identity", Sound: true}
	identity, err := datadir.Inspect(fsys, v.Path)
	switch {
	case err != nil:
		f.damage("%v", err)
	case identity == nil:
		return fmt.Errorf("%s is not a data directory: there is no identity.json in it; name the --data-dir of a member, or a backup", v.Path)
	default:
		f.Looked = fmt.Sprintf("member %s (%s) of cluster %s", identity.Name, hexID(uint64(identity.Member)), hexID(identity.Cluster.ID))
	}
	release, err := datadir.Hold(fsys, v.Path)
	if err != nil {
		return err
	}
	defer release()
	v.Findings = append(v.Findings, f)
	end, err := v.log(fsys, identity)
	if err != nil {
		return err
	}
	if err := v.snapshots(fsys); err != nil {
		return err
	}
	if err := v.tables(ctx); err != nil {
		return err
	}
	return v.state(ctx, end)
}

// log reads the log, as wal dump does, and compares whose it is with the directory's identity, where that could be read.
func (v *verdict) log(fsys vfs.FS, identity *datadir.Identity) (end wal.EndInfo, err error) {
	f := finding{Part: "log", Sound: true}
	var segments []wal.SegmentInfo
	entries, torn := 0, ""
	err = wal.Dump(fsys, datadir.LogDir, wal.Visitor{
		Votes: func(i wal.VotesInfo) error {
			if i.Error != "" {
				f.damage("%s: %s", i.File, i.Error)
			}
			return nil
		},
		Segment: func(i wal.SegmentInfo) error {
			segments = append(segments, i)
			return nil
		},
		Entry: func(i wal.EntryInfo) error {
			entries++
			if i.Error != "" {
				f.damage("group %d index %d term %d at %s: %s", i.Group, i.Index, i.Term, placeText(i.At), i.Error)
			}
			return nil
		},
		Bad: func(i wal.BadInfo) error {
			torn = fmt.Sprintf("%s, bytes %d to %d: %s", i.File, i.From, i.To, i.Error)
			return nil
		},
		End: func(i wal.EndInfo) error { end = i; return nil },
	})
	if err != nil {
		f.damage("%v", err)
	}
	for _, s := range segments {
		// Behind the end are segments that were prepared, and the last one has no directory yet.
		switch {
		case s.Number > end.End.Segment:
		case s.Error != "":
			f.damage("%s: %s", s.File, s.Error)
		case identity != nil && (s.Cluster != identity.Cluster.ID || s.Member != identity.Member):
			f.damage("%s is of member %s of cluster %s, and the directory is another's", s.File, hexID(uint64(s.Member)), hexID(s.Cluster))
		case s.Number < end.End.Segment && s.Directory != "ok":
			f.damage("%s: its directory: %s", s.File, s.Directory)
		}
	}
	f.Looked = fmt.Sprintf("%d segments, %d entries", len(segments), entries)
	switch {
	case end.Refused != "":
		f.damage("%s (%s)", end.Refused, torn)
	case torn != "":
		f.Looked += "; a torn tail, which a start cuts off (" + torn + ")"
	}
	v.Findings = append(v.Findings, f)
	return end, nil
}

// snapshots reads the snapshots that were being sent or received.
func (v *verdict) snapshots(fsys vfs.FS) error {
	const dir = "snapshots"
	names, err := fsys.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f := finding{Part: "snapshots", Sound: true}
	whole := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".snap") {
			continue // on its way: a start removes it
		}
		whole++
		if err := checkSnapshotFile(filepath.Join(v.Path, dir, name)); err != nil {
			f.damage("%s: %v", name, err)
		}
	}
	f.Looked = fmt.Sprintf("%d files", whole)
	v.Findings = append(v.Findings, f)
	return nil
}

func checkSnapshotFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := snapshot.NewReader(file)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return err
}

// tables reads every block of the state's tables, those too that no record of the state is in any more.
func (v *verdict) tables(ctx context.Context) error {
	f := finding{Part: "tables", Sound: true}
	tables, size := 0, int64(0)
	err := pebble.CheckTables(ctx, v.stateDir(), pebble.Options{}, func(name string, bytes int64, err error) {
		tables++
		size += bytes
		if err != nil {
			f.damage("%s: %v", name, err)
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		f.damage("%v", err)
	}
	f.Looked = fmt.Sprintf("%d files, %s", tables, bytesText(size))
	v.Findings = append(v.Findings, f)
	return nil
}

func (v *verdict) stateDir() string { return filepath.Join(v.Path, datadir.StateDir) }

// state reads the whole state and compares it with itself, and with where the log begins.
func (v *verdict) state(ctx context.Context, end wal.EndInfo) error {
	f := finding{Part: "state", Sound: true}
	err := v.readState(ctx, &f, end)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		f.damage("%v", err)
	}
	v.Findings = append(v.Findings, f)
	return nil
}

func (v *verdict) readState(ctx context.Context, f *finding, end wal.EndInfo) (err error) {
	engine, err := pebble.OpenReadOnly(v.stateDir(), pebble.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	s, err := store.Open(engine, store.Options{Group: theGroup})
	if err != nil {
		return err
	}
	if err := s.Verify(ctx); err != nil {
		return err
	}
	digest, applied := s.Digest()
	v.Revision, v.Compact, v.Applied, v.Digest = s.Revision(), s.CompactRevision(), uint64(applied.Index), digest.String()
	f.Looked = fmt.Sprintf("as of index %d, %s of keys and values", applied.Index, bytesText(s.Size()))
	for _, g := range end.Groups {
		if g.Group == theGroup && g.Before.Index > applied.Index {
			f.damage("the log begins after index %d, and the state has applied no more than index %d: the entries between are missing",
				g.Before.Index, applied.Index)
		}
	}
	return nil
}
