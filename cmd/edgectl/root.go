package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	edge "github.com/penstock-io/penstock/edgehub/client"
)

// Exit codes, the same for every command.
const (
	exitOK          = 0
	exitFailed      = 1  // it did not work, or a check found something
	exitUsage       = 2  // wrong arguments or an input that cannot be read
	exitNotFound    = 4  // what the command names is not there
	exitUnavailable = 10 // no hub answers
)

const longRoot = `edgectl works with Penstock hubs: it starts a whole pipeline to look at
(quickstart), checks and explains rules without a hub, publishes and subscribes,
replays recorded series, and shows queues and ledgers of running hubs.

Data goes to standard output, everything else to standard error. Exit codes:
0 done, 1 failed or a check found something, 2 wrong arguments or unreadable
input, 4 not found, 10 no hub answers.`

// usageError is an error of the command line or of an input file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errQuiet ends with exit code 1; what is wrong has been printed.
var errQuiet = errors.New("check failed")

func newRoot() (*cobra.Command, *output) {
	out := &output{w: os.Stdout, progress: os.Stderr}
	root := &cobra.Command{
		Use: "edgectl", Short: "The tool for Penstock hubs", Long: longRoot,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVarP(&out.format, "output", "o", "human", "human, json or yaml")
	root.PersistentFlags().BoolVar(&out.noColor, "no-color", os.Getenv("NO_COLOR") != "", "no colours")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return out.check() }
	root.AddCommand(
		quickstartCommand(out), rulesCommand(out), pubCommand(out), subCommand(out), replayCommand(out),
		monitorCommand(out), queueCommand(out), ledgerCommand(out), statusCommand(out), passwordCommand(out),
	)
	root.AddCommand(daemonCommands()...)
	return root, out
}

// group is what a command does that only holds others.
func group(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s has no command %q, see --help", cmd.CommandPath(), args[0])
	}
	return cmd.Help()
}

// exit turns a command's error into a line on stderr and an exit code.
func (o *output) exit(err error) int {
	if err == nil || errors.Is(err, context.Canceled) {
		return exitOK
	}
	if !errors.Is(err, errQuiet) {
		fmt.Fprintln(o.progress, "edgectl:", err)
	}
	var u usageError
	var code exitCode
	if strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage // cobra has no type for it
	}
	switch {
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &u):
		return exitUsage
	case errors.Is(err, edge.ErrUnavailable), errors.Is(err, syscall.ECONNREFUSED):
		return exitUnavailable
	case errors.Is(err, edge.ErrNotFound), errors.Is(err, os.ErrNotExist), isCloudNotFound(err):
		return exitNotFound
	}
	return exitFailed
}

func isCloudNotFound(err error) bool {
	var answer *cloud.Error
	return errors.As(err, &answer) && answer.Status == http.StatusNotFound
}

// exitCode is an error that says nothing but how to end.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }
