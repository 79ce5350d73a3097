package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/raft"
	"github.com/balsadb/balsa/store"
	"github.com/balsadb/balsa/vfs"
	"github.com/balsadb/balsa/wal"
)

func walCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "wal", Short: "Look into a member's log"}
	cmd.AddCommand(walDumpCommand())
	return cmd
}

func walDumpCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "dump DATA_DIR",
		Short: "Print what a member's log holds, also while its server runs",
		Long: "Prints segments, batches, entries, terms and votes, marks and checksums, and what a start would make of the log's end.\n" +
			"It changes nothing. What a running server is writing at the moment may show as a torn tail. With -o json each line is an object.\n" +
			"Entries show keys and values: treat the output like the data.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usage(cmd, fmt.Errorf("-o %s: it must be text or json", output))
			}
			return dumpLog(cmd.OutOrStdout(), args[0], output == "json")
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func dumpLog(w io.Writer, dir string, asJSON bool) error {
	fsys := vfs.NewOS(dir)
	identity, err := datadir.Inspect(fsys, dir)
	if err != nil {
		return err
	}
	if identity == nil {
		return fmt.Errorf("%s is not a data directory: there is no identity.json in it; name the --data-dir of a member", dir)
	}
	out := bufio.NewWriter(w)
	visitor := textVisitor(out)
	if asJSON {
		visitor = jsonVisitor(out)
	} else {
		fmt.Fprintf(out, "%s: member %s (%x) of cluster %x\n", filepath.Clean(dir), identity.Name, uint64(identity.Member), identity.Cluster.ID)
	}
	return errors.Join(wal.Dump(fsys, datadir.LogDir, visitor), out.Flush())
}

// textVisitor prints a line for each thing that is found.
func textVisitor(w io.Writer) wal.Visitor {
	line := func(format string, args ...any) error {
		_, err := fmt.Fprintf(w, format+"\n", args...)
		return err
	}
	return wal.Visitor{
		Votes: func(v wal.VotesInfo) error {
			if v.Error != "" {
				return line("%s: %s", v.File, v.Error)
			}
			return line("%s: generation %d%s", v.File, v.Generation, statesText(v.Groups))
		},
		Segment: func(s wal.SegmentInfo) error {
			if s.Error != "" {
				return line("%s: segment %d, %s: %s", s.File, s.Number, bytesText(s.Size), s.Error)
			}
			return line("%s: segment %d, %s, format %d, data directory %s, its directory: %s%s",
				s.File, s.Number, bytesText(s.Size), s.Version, s.DataDir, s.Directory, statesText(s.Groups))
		},
		Batch: func(b wal.BatchInfo) error {
			what := "batch"
			if b.IsMark {
				what = "mark"
			}
			return line("  %s  %s of %d B, durable before %s%s", placeText(b.At), what, b.Size, placeText(b.Mark), statesText(b.States))
		},
		Entry: func(e wal.EntryInfo) error {
			if e.Error != "" {
				return line("    %s  group %d index %d term %d  BAD: %s", placeText(e.At), e.Group, e.Index, e.Term, e.Error)
			}
			return line("    %s  group %d index %d term %d  %d B  crc %08x  %s", placeText(e.At), e.Group, e.Index, e.Term, e.Size, e.HeadCRC, commandText(e.Entry))
		},
		Bad: func(b wal.BadInfo) error {
			return line("  %s  bytes %d to %d are BAD: %s", b.File, b.From, b.To, b.Error)
		},
		End: func(e wal.EndInfo) error {
			if e.Refused != "" {
				return line("end at %s, durable before %s: a start is REFUSED (%s): %s", placeText(e.End), placeText(e.Mark), e.Row, e.Refused)
			}
			return line("end at %s, durable before %s: %s (%s)%s", placeText(e.End), placeText(e.Mark), e.Row, e.Reason, statesText(e.Groups))
		},
	}
}

func placeText(p wal.Position) string { return fmt.Sprintf("%d:%d", p.Segment, p.Offset) }

func statesText(states []wal.HardStateInfo) string {
	var b strings.Builder
	for _, s := range states {
		fmt.Fprintf(&b, "; group %d: term %d, vote %x, commit %d", s.Group, s.Term, uint64(s.Vote), s.Commit)
		switch {
		case s.Floor:
			fmt.Fprintf(&b, ", gives up all to index %d of term %d", s.Before.Index, s.Before.Term)
		case s.Before != (raft.Position{}):
			fmt.Fprintf(&b, ", after index %d of term %d", s.Before.Index, s.Before.Term)
		}
	}
	return b.String()
}

// commandText shows an entry's command on one line.
func commandText(e raft.Entry) string {
	if e.Kind() != raft.EntryNormal {
		return e.Kind().String()
	}
	kind, request, err := store.DecodeCommand(e.Payload())
	if err != nil {
		return fmt.Sprintf("normal, %v", err)
	}
	text := prototext.MarshalOptions{}.Format(request)
	const most = 120
	if len(text) > most {
		text = text[:most] + "..."
	}
	return fmt.Sprintf("%s {%s}", kind, text)
}

// jsonVisitor prints an object a line; "what" says what it is.
func jsonVisitor(w io.Writer) wal.Visitor {
	encoder := json.NewEncoder(w)
	return wal.Visitor{
		Votes: func(v wal.VotesInfo) error {
			return encoder.Encode(struct {
				What string `json:"what"`
				wal.VotesInfo
			}{"votes", v})
		},
		Segment: func(s wal.SegmentInfo) error {
			return encoder.Encode(struct {
				What string `json:"what"`
				wal.SegmentInfo
			}{"segment", s})
		},
		Batch: func(b wal.BatchInfo) error {
			return encoder.Encode(struct {
				What string `json:"what"`
				wal.BatchInfo
			}{"batch", b})
		},
		Entry: func(e wal.EntryInfo) error {
			answer := struct {
				What string `json:"what"`
				wal.EntryInfo
				Payload string `json:"payload,omitempty"`
			}{What: "entry", EntryInfo: e}
			if e.Error == "" {
				answer.Payload = base64.StdEncoding.EncodeToString(e.Entry.Payload())
			}
			return encoder.Encode(answer)
		},
		Bad: func(b wal.BadInfo) error {
			return encoder.Encode(struct {
				What string `json:"what"`
				wal.BadInfo
			}{"bad", b})
		},
		End: func(e wal.EndInfo) error {
			return encoder.Encode(struct {
				What string `json:"what"`
				wal.EndInfo
			}{"end", e})
		},
	}
}
