package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa/internal/demo"
)

func demoCommand() *cobra.Command {
	o := demo.Options{In: os.Stdin, Out: os.Stdout}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run three servers on this machine, and tell what happens to them",
		Long: "Runs three server processes on loopback, shows how to reach them, and tells who leads and who is gone.\n" +
			"They end together with it, whatever ends it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Binary, err = os.Executable(); err != nil {
				return err
			}
			o.Command = calledAs(o.Binary)
			o.Ports.Asked = cmd.Flags().Changed("client-port") || cmd.Flags().Changed("peer-port")
			if err := checkPorts(o.Ports); err != nil {
				return usage(cmd, err)
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return demo.Run(ctx, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Dir, "dir", "", "keep the data here, and go on with it at the next start (default a directory that goes with the demo)")
	flags.IntVar(&o.Ports.Client, "client-port", 2379, "the first member's port for clients; each further one's is 10 above. Without this flag free ports are used where these are taken")
	flags.IntVar(&o.Ports.Peer, "peer-port", 2380, "the first member's port for the other members; each further one's is 10 above")
	flags.BoolVar(&o.Restart, "restart", false, "start members again at once when they end")
	return cmd
}

func checkPorts(p demo.PortWish) error {
	if p.Client < 1 || p.Peer < 1 || p.Client > 65535-20 || p.Peer > 65535-20 {
		return fmt.Errorf("ports must be from 1 to %d, so that there is room for three members", 65535-20)
	}
	if d := p.Client - p.Peer; d%10 == 0 && -20 <= d && d <= 20 {
		return fmt.Errorf("--client-port %d and --peer-port %d would meet: members are 10 apart", p.Client, p.Peer)
	}
	return nil
}

// calledAs returns how a person at the terminal calls this binary again.
func calledAs(binary string) string {
	if strings.Contains(filepath.ToSlash(binary), "/go-build") { // where go run keeps what it builds
		if _, err := os.Stat("cmd/balsa/main.go"); err == nil {
			return "go run ./cmd/balsa"
		}
	}
	name := filepath.Base(os.Args[0])
	if found, err := exec.LookPath(name); err == nil && !strings.ContainsRune(os.Args[0], filepath.Separator) {
		if same, err := filepath.EvalSymlinks(found); err == nil && same == binary {
			return name
		}
	}
	if strings.ContainsAny(binary, " '\"\\$") {
		return "'" + strings.ReplaceAll(binary, "'", `'\''`) + "'"
	}
	return binary
}
