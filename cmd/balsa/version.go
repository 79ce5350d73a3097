package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/version"
)

// balsaVersion is this release. The commit comes from the build.
const balsaVersion = "0.1.0"

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and the version of etcd's API that is served",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { writeVersion(cmd.OutOrStdout()) },
	}
}

// writeVersion prints what scripts look for in the output of etcd --version, beside our own.
func writeVersion(w io.Writer) {
	fmt.Fprintf(w, "etcd Version: %s\n", version.Version)
	fmt.Fprintf(w, "Balsa Version: %s\n", balsaVersion)
	fmt.Fprintf(w, "Git SHA: %s\n", commit())
	fmt.Fprintf(w, "Go Version: %s\n", runtime.Version())
	fmt.Fprintf(w, "Go OS/Arch: %s/%s\n", runtime.GOOS, runtime.GOARCH)
}

// commit returns the commit that the binary was built from, or "unknown".
func commit() string {
	revision, modified := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = " (modified)"
			}
		}
	}
	return revision + modified
}
