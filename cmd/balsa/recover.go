package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/engine/pebble"
	"github.com/balsadb/balsa/internal/bootstrap"
	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
	"github.com/balsadb/balsa/vfs"
)

type recoverOptions struct {
	from     []string
	dataDir  string
	name     string
	peerURLs []string
	bump     int64
	yes      bool
	dryRun   bool
	asJSON   bool
}

func recoverCommand() *cobra.Command {
	var o recoverOptions
	output := "text"
	cmd := &cobra.Command{
		Use:   "recover DATA_DIR...",
		Short: "Make a new cluster from one survivor of a lost majority",
		Long: "For the worst day: more than half of the members are gone for good, with their disks. Takes the data directory of a stopped member that is left " +
			"(of several, the one that is furthest along) and makes a new data directory beside it, with all that it has, for the first member of a new cluster. " +
			"Others then join that one as they join any cluster.\n" +
			"Nothing is changed in DATA_DIR but a mark, at the end, that keeps servers from starting there. What may be lost is told, and asked for, before. " +
			"While a majority can still be brought back, bring it back: nothing is lost then.\n" +
			"Revisions never go back: they are raised by --bump-revision and compacted there, as balsa restore does.",
		Example: "  balsa recover --dry-run m1.etcd\n  balsa recover m1.etcd m3.etcd --data-dir m1.new",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.from, o.asJSON = args, output == "json"
			switch {
			case output != "text" && output != "json":
				return usage(cmd, fmt.Errorf("-o %s: it must be text or json", output))
			case o.bump < 0:
				return usage(cmd, errors.New("--bump-revision must not be negative: revisions never go back"))
			case o.asJSON && !o.yes && !o.dryRun:
				return usage(cmd, errors.New("-o json asks no questions: look at what --dry-run says, then give --yes"))
			}
			return runRecover(cmd.Context(), cmd.OutOrStdout(), cmd.InOrStdin(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.dataDir, "data-dir", "", "the data directory to make; DATA_DIR.recovered by default")
	flags.StringVar(&o.name, "name", "", "name of the new member; the survivor's by default")
	flags.StringSliceVar(&o.peerURLs, "peer-urls", nil, "where members that join will reach it; the survivor's peer URLs by default")
	flags.Int64Var(&o.bump, "bump-revision", defaultBump,
		"by how much the revision is raised: above what the lost members may have given out; 0 keeps it, for a cluster that no client remembers")
	flags.BoolVar(&o.yes, "yes", false, "do not ask")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say what would be done and what may be lost, and change nothing")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// recoverReport is what a recovery says, before and after.
type recoverReport struct {
	Source    string            `json:"source"`
	DataDir   string            `json:"data_dir"`
	Former    recoverFormer     `json:"former"`
	Refused   map[string]string `json:"not_usable,omitempty"` // directories that were offered, and why they are of no use
	Passed    []string          `json:"not_as_far,omitempty"`
	Last      balsa.Position    `json:"-"`
	LastIndex uint64            `json:"last_index"`
	LastTerm  uint64            `json:"last_term"`
	Committed uint64            `json:"known_committed_index"`
	Applied   uint64            `json:"applied_index"`
	Kept      uint64            `json:"kept_without_proof"`
	MayMiss   string            `json:"may_be_lost"`
	Done      bool              `json:"done"`
	Record    *datadir.Recovery `json:"record,omitempty"`
	Warning   string            `json:"warning,omitempty"`
	Start     string            `json:"start_with,omitempty"`
	passed    []*survivor
	identity  datadir.Identity
	survivor  *survivor
	revision  int64
}

type recoverFormer struct {
	Cluster string   `json:"cluster_id"`
	Member  string   `json:"member_id"`
	Name    string   `json:"name"`
	Lost    []string `json:"other_members"`
}

func runRecover(ctx context.Context, out io.Writer, in io.Reader, o recoverOptions) (err error) {
	report, err := planRecovery(o)
	if report != nil {
		defer func() { err = errors.Join(err, report.close()) }()
	}
	if err != nil {
		return err
	}
	if !o.asJSON {
		report.explain(out)
	}
	if !o.dryRun {
		if !o.yes && !confirmed(out, in, report.Former.Name) {
			return errors.New("nothing was done: it was not confirmed")
		}
		if err := report.recover(ctx, o); err != nil {
			return fmt.Errorf("recovering from %s: %w; %s is as it was", report.Source, err, report.Source)
		}
	}
	if o.asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	report.conclude(out)
	return nil
}

// planRecovery looks at what is offered, and changes nothing.
func planRecovery(o recoverOptions) (*recoverReport, error) {
	r := &recoverReport{Refused: map[string]string{}}
	var problems []error
	for _, path := range o.from {
		s, err := openSurvivor(path)
		if err != nil {
			r.Refused[s.path] = err.Error()
			problems = append(problems, err)
			continue
		}
		r.passed = append(r.passed, s)
		if first := r.passed[0]; s.identity.Cluster.ID != first.identity.Cluster.ID {
			return r, fmt.Errorf("%s is of cluster %s, and %s of cluster %s: offer the members of one cluster",
				first.path, hexID(first.identity.Cluster.ID), s.path, hexID(s.identity.Cluster.ID))
		}
		if r.survivor == nil || s.further(r.survivor) {
			r.survivor = s
		}
	}
	if r.survivor == nil {
		return r, errors.Join(problems...)
	}
	for _, s := range r.passed {
		if s != r.survivor {
			r.Passed = append(r.Passed, fmt.Sprintf("%s: up to index %d of term %d", s.path, s.last.Index, s.last.Term))
		}
	}
	if err := r.newIdentity(o); err != nil {
		return r, err
	}
	r.describe()
	return r, mustNotExist(r.DataDir)
}

func (r *recoverReport) close() error {
	var errs []error
	for _, s := range r.passed {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// newIdentity is that of the new cluster's first member. Its ids are drawn anew and its life is above all that were given before, so
// that nobody of the former cluster can take it for one of theirs, whatever flags they have in common.
func (r *recoverReport) newIdentity(o recoverOptions) error {
	s := r.survivor
	r.DataDir = o.dataDir
	if r.DataDir == "" {
		r.DataDir = s.path + ".recovered"
	}
	name, urls := o.name, o.peerURLs
	if name == "" {
		name = s.identity.Name
	}
	if seat := s.configuration.Seat(s.identity.Member); len(urls) == 0 && seat != nil && seat.Address != "" {
		urls = strings.Split(seat.Address, ",")
	}
	if len(urls) == 0 {
		return fmt.Errorf("%s does not say where its member was reached: give --peer-urls", s.path)
	}
	if _, err := bootstrap.ParseURLs("peer-urls", urls); err != nil {
		return err
	}
	var ids [16]byte
	if _, err := rand.Read(ids[:]); err != nil {
		return err
	}
	cluster, member := binary.LittleEndian.Uint64(ids[:])|1, raft.MemberID(binary.LittleEndian.Uint64(ids[8:])|1)
	life := s.configuration.Lives + 1
	c := raft.FirstConfiguration([]raft.Member{{ID: member, Life: life}})
	c.Seats[0].Address = strings.Join(urls, ",")
	r.identity = datadir.Identity{
		Cluster: bootstrap.Cluster{ID: cluster, Members: []bootstrap.Member{{ID: member, Name: name, PeerURLs: urls}}},
		Member:  member, Name: name, Life: life, Joined: c.Encode(),
	}
	return nil
}

func (r *recoverReport) describe() {
	s := r.survivor
	r.Source = s.path
	r.Former = recoverFormer{hexID(s.identity.Cluster.ID), hexID(uint64(s.identity.Member)), s.identity.Name, s.names()}
	r.Last, r.LastIndex, r.LastTerm = s.last, uint64(s.last.Index), uint64(s.last.Term)
	r.Committed, r.Applied = uint64(min(s.committed, s.last.Index)), uint64(s.applied.Index)
	r.Kept = r.LastIndex - r.Committed
	r.MayMiss = fmt.Sprintf("whatever the others acknowledged above index %d (term %d) is not here: writes of the last moments before the majority was lost, "+
		"or of all the time for which this member was behind", s.last.Index, s.last.Term)
	if len(r.Former.Lost) == 0 {
		r.MayMiss = "nothing: this member was the only one"
	}
}

func (r *recoverReport) explain(out io.Writer) {
	for path, why := range r.Refused {
		fmt.Fprintf(out, "not usable      %s: %s\n", path, why)
	}
	for _, text := range r.Passed {
		fmt.Fprintf(out, "not as far      %s\n", text)
	}
	fmt.Fprintf(out, "survivor        %s: member %s (%s) of cluster %s\n", r.Source, r.Former.Name, r.Former.Member, r.Former.Cluster)
	fmt.Fprintf(out, "other members   %s: given up for ever\n", strings.Join(r.Former.Lost, ", "))
	fmt.Fprintf(out, "what is here    the log up to index %d of term %d, revision %d at index %d\n", r.LastIndex, r.LastTerm, r.survivor.revision, r.Applied)
	fmt.Fprintf(out, "known committed up to index %d\n", r.Committed)
	if r.Kept > 0 {
		fmt.Fprintf(out, "kept as well    %d entries above that: they may have been acknowledged, or may be ones whose clients were told that their fate is unknown\n", r.Kept)
	}
	fmt.Fprintf(out, "may be lost     %s\n", r.MayMiss)
	fmt.Fprintf(out, "will be made    %s: %s as the only member of a new cluster\n", r.DataDir, r.identity.Name)
}

// confirmed asks for the member's name.
func confirmed(out io.Writer, in io.Reader, name string) bool {
	fmt.Fprintf(out, "\nIf a majority of the members can still be brought back, do that instead. To give them up for ever, type the survivor's name (%s): ", name)
	line, _ := bufio.NewReader(in).ReadString('\n')
	fmt.Fprintln(out)
	return strings.TrimSpace(line) == name
}

func (r *recoverReport) conclude(out io.Writer) {
	if !r.Done {
		fmt.Fprintln(out, "nothing was changed (--dry-run)")
		return
	}
	fmt.Fprintf(out, "%s is made: member %s of cluster %s, at revision %d\n%s\n", r.DataDir, r.identity.Name, r.Record.Cluster, r.Record.RevisionAfter, r.Start)
	if r.Warning != "" {
		fmt.Fprintln(out, r.Warning)
	}
}

// recover makes the directory beside its place, and gives it that when all of it is there and on disk. Until then the survivor's is untouched.
func (r *recoverReport) recover(ctx context.Context, o recoverOptions) (err error) {
	parent, name := filepath.Split(filepath.Clean(r.DataDir))
	if parent == "" {
		parent = "."
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(parent, name+".recovering-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	if err := r.fill(ctx, temporary, o.bump); err != nil {
		return err
	}
	if err := os.Remove(r.DataDir); err != nil && !errors.Is(err, os.ErrNotExist) { // it was empty
		return err
	}
	if err := os.Rename(temporary, r.DataDir); err != nil {
		return err
	}
	if err := syncDirectory(parent); err != nil {
		return err
	}
	r.Done = true
	r.supersede()
	r.Start = fmt.Sprintf("Start it with --data-dir=%s and the flags that %s had (its --initial-cluster does not matter any more), then let the others join it, "+
		"each with an empty directory: balsa ctl member add NAME --peer-urls=URL, and --initial-cluster-state=existing", r.DataDir, r.Former.Name)
	return nil
}

// fill puts everything into the new directory: the state, verified as it is copied, the entries above it, and the record.
func (r *recoverReport) fill(ctx context.Context, dir string, bump int64) (err error) {
	fsys := vfs.NewOS(dir)
	owned, err := datadir.Open(fsys, dir, r.identity, rand.Reader)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, owned.Close()) }()
	home := pebble.NewHome(filepath.Join(dir, datadir.StateDir), pebble.Options{})
	defer func() { err = errors.Join(err, home.Close()) }()
	s, err := store.OpenHome(home, store.Options{Group: theGroup})
	if err != nil {
		return err
	}
	if err := r.copyState(ctx, s); err != nil {
		return fmt.Errorf("copying the state: %w", err)
	}
	if err := applyAll(s, r.survivor.entries); err != nil {
		return fmt.Errorf("applying the log: %w", err)
	}
	r.revision = s.Revision()
	if err := s.Rebase(bump); err != nil {
		return err
	}
	r.record(s.Revision())
	return datadir.WriteRecovery(fsys, r.Record)
}

// copyState streams the survivor's state, as a leader sends it to a follower: each record is checked, and all of them against the digest.
func (r *recoverReport) copyState(ctx context.Context, to *store.Store) error {
	if r.survivor.applied.Index == 0 {
		return nil
	}
	state, err := r.survivor.state.Snapshot()
	if err != nil {
		return err
	}
	from, into := io.Pipe()
	stop := context.AfterFunc(ctx, func() { into.CloseWithError(ctx.Err()) })
	defer stop()
	written := make(chan error, 1)
	go func() {
		_, err := state.WriteTo(into)
		into.CloseWithError(err)
		written <- err
	}()
	err = to.Restore(r.survivor.applied, from)
	from.CloseWithError(errors.New("the copy has ended"))
	if failed := <-written; err == nil {
		err = failed
	}
	return errors.Join(err, state.Close())
}

// applyAll applies entries as a member does, some at a time.
func applyAll(s *store.Store, entries []raft.Entry) error {
	const most = 1000
	for len(entries) > 0 {
		part := entries[:min(most, len(entries))]
		entries = entries[len(part):]
		batch := balsa.Batch{Position: part[len(part)-1].Position()}
		for _, e := range part {
			switch e.Kind() {
			case raft.EntryNormal:
				batch.Commands = append(batch.Commands, balsa.Command{Index: e.Index(), Term: e.Term(), Payload: e.Payload()})
			case raft.EntryNoop, raft.EntryConfiguration:
			default:
				return fmt.Errorf("the entry at index %d is of kind %v, which this build does not know: use the version of balsa that wrote it", e.Index(), e.Kind())
			}
		}
		if err := s.Apply(&batch); err != nil {
			return err
		}
	}
	return nil
}

func (r *recoverReport) record(revision int64) {
	s := r.survivor
	r.Record = &datadir.Recovery{
		Made: time.Now().UTC().Truncate(time.Second), Version: balsaVersion, Source: s.path,
		FormerName: r.Former.Name, FormerMember: r.Former.Member, FormerID: fmt.Sprintf("%x", s.identity.ID), FormerPeers: r.Former.Lost,
		FormerClusters: []string{r.Former.Cluster}, Cluster: hexID(r.identity.Cluster.ID), Member: hexID(uint64(r.identity.Member)),
		Last: r.LastIndex, LastTerm: r.LastTerm, Committed: r.Committed, Kept: r.Kept, Revision: r.revision, RevisionAfter: revision,
	}
	if s.record != nil {
		r.Record.FormerClusters = append(r.Record.FormerClusters, s.record.FormerClusters...)
	}
}

// supersede keeps servers from the directories that were offered, where they can be written to.
func (r *recoverReport) supersede() {
	mark := &datadir.Superseded{Made: r.Record.Made, Into: r.DataDir, Cluster: r.Record.Cluster}
	for _, s := range r.passed {
		if err := datadir.WriteSuperseded(s.fsys, mark); err != nil {
			r.Warning += fmt.Sprintf("%s could not be marked (%v): never start a server there again\n", s.path, err)
		}
	}
	r.Warning = strings.TrimSuffix(r.Warning, "\n")
}

// formerClusters are those whose members are to be told that they were given up.
func formerClusters(record *datadir.Recovery) (ids []uint64, err error) {
	if record == nil {
		return nil, nil
	}
	for _, text := range record.FormerClusters {
		id, err := strconv.ParseUint(text, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("the record of the recovery names a cluster %q, which is no id: %w", text, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
