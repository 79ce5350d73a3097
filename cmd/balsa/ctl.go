package main

// This file is the only one that knows etcdctl: etcd's own client from its published module, with its
// output, its flags, its environment variables and its exit codes. Replace or remove it here, and nothing else changes.

import (
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3"
)

func ctlCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "ctl ...",
		Short:              "Run etcdctl, etcd's own command line client (all that follows is passed on to it)",
		DisableFlagParsing: true,
		Run:                func(_ *cobra.Command, args []string) { ctl(args) },
	}
}

// ctl runs etcdctl and ends the process with its exit code. etcdctl reads the process's command line itself.
func ctl(args []string) {
	os.Args = append([]string{"etcdctl"}, args...)
	cobra.EnablePrefixMatching = true // as etcdctl has it
	ctlv3.MustStart()
	os.Exit(exitFine)
}
