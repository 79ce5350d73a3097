package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/balsadb/balsa/vfs"
)

// Recovery is the record of a recovery from a lost majority, in the directory that came of it. It is for people; fields may be added.
type Recovery struct {
	Made    time.Time `json:"made"`
	Version string    `json:"balsa_version"`
	// Source is the directory that it was made from, of FormerMember of FormerCluster. Ids are hexadecimal.
	Source       string   `json:"source"`
	FormerName   string   `json:"former_name"`
	FormerMember string   `json:"former_member_id"`
	FormerID     string   `json:"former_directory_id"`
	FormerPeers  []string `json:"former_members"`
	// FormerClusters are the cluster that was lost and those that it had itself been recovered from.
	FormerClusters []string `json:"former_cluster_ids"`
	Cluster        string   `json:"cluster_id"`
	Member         string   `json:"member_id"`
	// The log went to Last; Committed of it was known there to be committed, the rest was kept all the same.
	Last          uint64 `json:"last_index"`
	LastTerm      uint64 `json:"last_term"`
	Committed     uint64 `json:"known_committed_index"`
	Kept          uint64 `json:"kept_without_proof"`
	Revision      int64  `json:"former_revision"`
	RevisionAfter int64  `json:"revision"`
}

// Superseded marks a directory that a recovery was made from: a server that started there would bring the former cluster back.
type Superseded struct {
	Made    time.Time `json:"made"`
	Into    string    `json:"into"`
	Cluster string    `json:"cluster_id"`
}

const (
	recoveryName   = "recovered.json"
	supersededName = "superseded.json"
)

// WriteRecovery makes a record durable. The directory is held.
func WriteRecovery(fsys vfs.FS, r *Recovery) error { return writeJSON(fsys, recoveryName, r) }

// ReadRecovery returns the record of the recovery that made a directory, nil where none did.
func ReadRecovery(fsys vfs.FS) (*Recovery, error) { return readJSON[Recovery](fsys, recoveryName) }

// WriteSuperseded makes the mark durable. The directory is held.
func WriteSuperseded(fsys vfs.FS, s *Superseded) error { return writeJSON(fsys, supersededName, s) }

// CheckSuperseded says in a sentence why no server starts in a directory that a recovery was made from.
func CheckSuperseded(fsys vfs.FS, path string) error {
	s, err := readJSON[Superseded](fsys, supersededName)
	switch {
	case err != nil:
		return fmt.Errorf("data directory %s: %w", path, err)
	case s != nil:
		return fmt.Errorf("data directory %s was left behind: %s was made from it by balsa recover on %s, as the new cluster %s, and a server here "+
			"would bring the former cluster back beside that one; start the new one, or, if the recovery was a mistake and nobody uses what came of it, remove %s/%s",
			path, s.Into, s.Made.Format(time.RFC3339), s.Cluster, path, supersededName)
	}
	return nil
}

func writeJSON(fsys vfs.FS, name string, what any) error {
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	return replace(fsys, name, name+".new", append(text, '\n'))
}

func readJSON[T any](fsys vfs.FS, name string) (*T, error) {
	text, err := readAll(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	what := new(T)
	if err == nil {
		err = json.Unmarshal(text, what)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	return what, nil
}
