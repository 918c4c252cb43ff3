package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/internal/daemon"
)

// daemonCommands run the hubs themselves; the quickstart starts them so, and one
// binary is enough where three are too many. Their flags are the daemons' own.
func daemonCommands() []*cobra.Command {
	run := func(name string, main func(args []string, stderr io.Writer) int) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: "Run " + name + " in the foreground", DisableFlagParsing: true,
			RunE: func(_ *cobra.Command, args []string) error {
				if code := main(args, os.Stderr); code != daemon.ExitOK {
					return exitCode(code)
				}
				return nil
			},
		}
	}
	return []*cobra.Command{run("edgehub", daemon.EdgeHub().Main), run("cloudhub", daemon.CloudHub().Main)}
}
