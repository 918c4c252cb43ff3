// Package daemon is what edgehub and cloudhub have in common as programs: the
// flags, the log, signals and exit codes. edgectl starts the same daemons for
// its quickstart.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/penstock-io/penstock/configs"
)

// Exit codes of the daemons.
const (
	ExitOK     = 0
	ExitFailed = 1 // could not start or stopped by an error; one line on stderr says why
	ExitUsage  = 2 // wrong flags or configuration
)

// Runner is a hub ready to run.
type Runner interface {
	Run(ctx context.Context) error
}

// Program is one daemon: how its configuration is read and a hub made from it.
type Program[C any] struct {
	Name string
	Load func(path string, env []string) (C, error)
	Log  func(C) configs.Log
	New  func(c C, log *slog.Logger) (Runner, error)
	// Tasks are done instead of running, on request.
	Tasks []Task[C]
}

// Task is a piece of maintenance behind a flag of its own. Do returns what to tell.
type Task[C any] struct {
	Flag, Usage string
	Do          func(c C) (string, error)
}

// Main runs the program until SIGINT or SIGTERM and returns its exit code. A
// second signal ends the process at once.
func (p Program[C]) Main(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", p.Name+".yaml", "configuration file")
	check := flags.Bool("check", false, "check the configuration and exit")
	version := flags.Bool("version", false, "print the version and exit")
	tasks := make([]*bool, len(p.Tasks))
	for i, t := range p.Tasks {
		tasks[i] = flags.Bool(t.Flag, false, t.Usage)
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return ExitOK
	case err != nil:
		return ExitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "%s: there is an argument %q, want flags only: the configuration goes with -config\n", p.Name, flags.Arg(0))
		return ExitUsage
	}
	if *version {
		fmt.Fprintln(stderr, p.Name, Version())
		return ExitOK
	}
	cfg, err := p.Load(*path, os.Environ())
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return ExitUsage
	}
	if *check {
		fmt.Fprintf(stderr, "%s: %s is fine\n", p.Name, *path)
		return ExitOK
	}
	for i, t := range p.Tasks {
		if *tasks[i] {
			return p.perform(t, cfg, stderr)
		}
	}
	return p.serve(cfg, stderr)
}

func (p Program[C]) perform(t Task[C], cfg C, stderr io.Writer) int {
	said, err := t.Do(cfg)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return ExitFailed
	}
	fmt.Fprintf(stderr, "%s: %s\n", p.Name, said)
	return ExitOK
}

func (p Program[C]) serve(cfg C, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the default action is back for the second signal
	hub, err := p.New(cfg, newLog(p.Log(cfg), stderr))
	if err == nil {
		err = hub.Run(ctx)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return ExitFailed
	}
	return ExitOK
}

func newLog(c configs.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if level.UnmarshalText([]byte(c.Level)) != nil {
		level = slog.LevelInfo // configs has checked it; a zero Log means info
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Version is that of the module this program was built from.
func Version() string {
	if i, ok := debug.ReadBuildInfo(); ok && i.Main.Version != "" {
		return i.Main.Version
	}
	return "(devel)"
}
