package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	edge "github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/internal/daemon"
)

// Exit codes, the same for every command.
const (
	exitOK          = 0
	exitFailed      = 1  // it did not work, a check found something, or it was interrupted
	exitUsage       = 2  // wrong arguments or an input that cannot be read
	exitNotFound    = 4  // what the command names is not there
	exitUnavailable = 10 // no hub answers
)

const longRoot = `edgectl works with Penstock hubs: it starts a whole pipeline to look at
(quickstart), checks and explains rules without a hub, publishes and subscribes,
replays recorded series, and shows queues and ledgers of running hubs.

Data goes to standard output, everything else to standard error. Exit codes:
0 done, 1 failed or a check found something, 2 wrong arguments or unreadable
input, 4 not found, 10 no hub answers.

Environment: PENSTOCK_EDGE, PENSTOCK_CLOUD and PENSTOCK_TOKEN_FILE say where the
hubs are, PENSTOCK_PASSWORD is the password of --user, NO_COLOR means what it says.`

// usageError is an error of the command line or of an input file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode is an error that says nothing but how to end; what is wrong has been printed.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// errFound: a check has found, and printed, something.
const errFound = exitCode(exitFailed)

func newRoot() (*cobra.Command, *output) {
	out := &output{w: os.Stdout, progress: os.Stderr}
	root := &cobra.Command{
		Use: "edgectl", Short: "The tool for Penstock hubs", Long: longRoot, Version: daemon.Version(),
		SilenceErrors: true, SilenceUsage: true, Args: cobra.ArbitraryArgs, RunE: group,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVarP(&out.format, "output", "o", "human", "human, json or yaml")
	root.PersistentFlags().BoolVar(&out.noColor, "no-color", os.Getenv("NO_COLOR") != "", "no colours")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return out.check() }
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	root.AddCommand(
		quickstartCommand(out), rulesCommand(out), pubCommand(out), subCommand(out), replayCommand(out),
		monitorCommand(out), queueCommand(out), ledgerCommand(out), statusCommand(out), passwordCommand(out),
	)
	root.AddCommand(daemonCommands()...)
	return root, out
}

// exit turns a command's error into a line on stderr and an exit code.
func (o *output) exit(err error) int {
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		o.note("edgectl: interrupted")
		return exitFailed
	}
	o.note("edgectl: %v", err)
	var u usageError
	switch {
	case errors.As(err, &u), strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		return exitUsage
	case isUnavailable(err):
		return exitUnavailable
	case isNotFound(err):
		return exitNotFound
	}
	return exitFailed
}

// isUnavailable says whether nobody could be reached at all.
func isUnavailable(err error) bool {
	var op *net.OpError
	return errors.Is(err, edge.ErrUnavailable) || errors.Is(err, errNoCloud) || errors.As(err, &op) && op.Op == "dial"
}

func isNotFound(err error) bool {
	var answer *cloud.Error
	return errors.Is(err, edge.ErrNotFound) || errors.As(err, &answer) && answer.Status == http.StatusNotFound
}
