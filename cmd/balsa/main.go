// Command balsa is the server, its demonstration and its tools in one binary.
//
//	balsa demo        three servers on this machine, to play with
//	balsa serve       one member of a cluster, with etcd's flags
//	balsa ctl         etcdctl
//	balsa status      how each member is doing
//	balsa doctor      what is wrong with a cluster, from name to clock
//	balsa why-no-leader  why there is none, and what to do
//	balsa backup      all keys into a file, while the cluster serves
//	balsa restore     new members from such a file
//	balsa recover     a new cluster from one survivor of a lost majority
//	balsa rejoin      a member whose disk was wiped or set back joins again
//	balsa verify      whether a data directory or a backup is sound
//	balsa wal dump    what a member's log holds
//	balsa sim         simulated clusters of this very code, under every fault
//
// A link to it (or a copy) named etcd behaves as balsa serve, one named etcdctl as balsa ctl.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes. etcdctl has its own.
const (
	exitFine  = 0
	exitError = 1 // it did not work: the sentence on stderr says why, and what to do
	exitUsage = 2 // the command line is wrong
	exitFloor = 3 // balsa sim: nothing broke, and too little was tried for that to mean much

	exitRemoved = 4 // balsa serve: this member was removed from its cluster; starting it again is of no use
	exitLost    = 5 // balsa serve: the others know that this member's disk is not what it was; it has to join again
	exitWarning = 6 // balsa doctor: nothing is failing, and something will where nobody looks
)

func main() {
	switch strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") {
	case "etcd":
		os.Exit(serve(os.Args[1:]))
	case "etcdctl":
		ctl(os.Args[1:])
	}
	cobra.EnablePrefixMatching = false // the bridge to etcdctl switches it on for everybody
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	root := commands()
	root.SetArgs(args)
	err := root.Execute()
	var ended exitCode
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &ended):
		return int(ended)
	}
	fmt.Fprintf(os.Stderr, "balsa: %v\n", err)
	return exitError
}

// exitCode is the error of a command that has said everything already.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// ended turns a code into what cobra wants.
func ended(code int) error {
	if code == exitFine {
		return nil
	}
	return exitCode(code)
}

func commands() *cobra.Command {
	root := &cobra.Command{
		Use:   "balsa",
		Short: "A replicated key-value store that etcd's clients use unchanged",
		Example: "  balsa demo                                  three servers on this machine\n" +
			"  balsa ctl put hello world                   write through any of them\n" +
			"  balsa status                                how they are doing",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked, _ := cmd.Flags().GetBool("version"); asked {
				writeVersion(cmd.OutOrStdout())
				return nil
			}
			return cmd.Help()
		},
	}
	root.Flags().Bool("version", false, "print the version")
	root.AddCommand(serveCommand(), demoCommand(), ctlCommand(), statusCommand(), whyNoLeaderCommand(), doctorCommand(), backupCommand(), restoreCommand(), recoverCommand(), rejoinCommand(), verifyCommand(), walCommand(), simCommand(), versionCommand())
	return root
}

// usage is the error of a command line that cannot be right.
func usage(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v; see %s --help\n", cmd.CommandPath(), err, cmd.CommandPath())
	return exitCode(exitUsage)
}
