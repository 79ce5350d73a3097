package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/version"

	"github.com/balsadb/balsa"
	"github.com/balsadb/balsa/internal/etcdflags"
)

// stopTimeout is how long a member that was told to stop may take to hand over and to answer what it has begun.
const stopTimeout = 3 * time.Second

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "serve [flags]",
		Short:              "Run one member of a cluster, with etcd's flags",
		DisableFlagParsing: true, // etcd's flags are Go's, not cobra's
		RunE:               func(_ *cobra.Command, args []string) error { return ended(serve(args)) },
	}
}

// serve runs a member until it is told to stop, and returns the process's exit code.
func serve(args []string) int {
	settings, err := etcdflags.Load(args, os.Environ(), os.ReadFile)
	switch {
	case errors.Is(err, etcdflags.ErrHelp):
		fmt.Println("Usage: balsa serve [flags]\n\nRuns one member of a cluster.")
		etcdflags.WriteHelp(os.Stdout)
		return exitFine
	case errors.Is(err, etcdflags.ErrVersion):
		writeVersion(os.Stdout)
		return exitFine
	case err != nil:
		return complain(err, exitUsage)
	}
	p, err := newPlan(settings)
	if err != nil {
		return complain(err, exitError)
	}
	relaxTimers()
	boundHeap()
	preferHugePages()
	logger, closeLog, err := openLog(settings.List("log-outputs"), settings.String("log-level"), settings.String("log-format"))
	if err != nil {
		return complain(err, exitError)
	}
	defer closeLog()
	if err := serveUntilTold(p, logger); err != nil {
		if errors.As(err, new(*removedError)) {
			return complain(err, exitRemoved)
		}
		if errors.Is(err, balsa.ErrDisowned) {
			return complain(err, exitLost)
		}
		return complain(err, exitError)
	}
	return exitFine
}

// complain prints the one sentence that says why, and what to do.
func complain(err error, code int) int {
	fmt.Fprintf(os.Stderr, "balsa serve: %v\n", err)
	return code
}

func serveUntilTold(p *plan, logger *slog.Logger) error {
	lifeline, err := watchLifeline()
	if err != nil {
		return err
	}
	ctx, forget := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer forget()
	announce(p, logger)
	m, err := startMember(p, logger)
	if err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() { ready <- m.awaitReady(ctx) }()
	for {
		select {
		case err := <-ready:
			if err == nil {
				err = notifySystemd("READY=1")
			}
			if err != nil && ctx.Err() == nil {
				logger.Warn("starting goes on with an error", "error", err)
			}
			ready = nil
		case err := <-m.failed:
			return errors.Join(err, m.close())
		case <-lifeline:
			// Whoever started us died: nobody waits for a friendly end.
			return m.close()
		case <-ctx.Done():
			forget() // a second signal ends the process at once
			return m.stop()
		}
	}
}

// announce logs what is being started, and what became of the flags.
func announce(p *plan, logger *slog.Logger) {
	logger.Info("starting balsa", "balsa-version", balsaVersion, "etcd-version", version.Version, "git-sha", commit(),
		"name", p.identity.Name, "data-dir", p.absolute(), "member-id", hexID(uint64(p.identity.Member)),
		"cluster-id", hexID(p.identity.Cluster.ID), "initial-cluster", p.identity.Cluster.String(), "restart", p.restart)
	for _, n := range p.settings.Notices {
		level := slog.LevelInfo
		if n.Warning {
			level = slog.LevelWarn
		}
		logger.Log(context.Background(), level, n.Text)
	}
	if p.settings.Bool("unsafe-no-fsync") {
		logger.Warn("--unsafe-no-fsync: a power cut now loses writes that were acknowledged")
	}
}

func hexID(id uint64) string { return fmt.Sprintf("%x", id) }
