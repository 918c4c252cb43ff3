package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/daemon"
)

func statusCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "What a running edgehub says of itself", Args: noArgs}
	hub := edgeFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := hub().Status(cmd.Context())
		if err != nil {
			return err
		}
		return out.print(s, func(w io.Writer) {
			row(w, "device", s.Device)
			row(w, "up", time.Since(s.Started).Round(time.Second))
			if u := s.Uplink; u != nil {
				row(w, "uplink", u.State, u.Address, u.LastError)
				row(w, "sent upstream", u.Sent)
			} else {
				row(w, "uplink", "none configured")
			}
			row(w, "rules in force", s.Rules.Active)
			for _, e := range s.Rules.Errors {
				row(w, "rule error", e)
			}
			row(w, "clients", s.Broker.Connections)
			row(w, "bytes queued", s.Store.QueuedBytes)
			row(w, "bytes on disk", s.Store.DiskBytes)
		})
	}
	return cmd
}

func passwordCommand(out *output) *cobra.Command {
	return &cobra.Command{
		Use: "password", Short: "Hash a password, read from standard input, for auth.users", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			line, err := bufio.NewReader(os.Stdin).ReadString('\n')
			if password := strings.TrimRight(line, "\r\n"); password != "" {
				hash, err := identity.HashPassword(password)
				if err != nil {
					return err
				}
				return out.print(map[string]string{"password_hash": hash}, func(w io.Writer) { fmt.Fprintln(w, hash) })
			}
			if err != nil && err != io.EOF {
				return err
			}
			return usage("no password on standard input")
		},
	}
}

// noArgs refuses arguments with the exit code for wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments", cmd.CommandPath())
	}
	return nil
}

// exactly wants n arguments, named in the usage line.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usage("usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// daemonCommands run the hubs themselves; the quickstart starts them so, and one
// binary is enough where two are too many.
func daemonCommands() []*cobra.Command {
	mk := func(name string, main func(args []string, stderr io.Writer) int) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: "Run " + name + " in the foreground", DisableFlagParsing: true,
			RunE: func(_ *cobra.Command, args []string) error {
				if code := main(args, os.Stderr); code != daemon.ExitOK {
					return fmt.Errorf("%w%w", errQuiet, exitCode(code))
				}
				return nil
			},
		}
	}
	return []*cobra.Command{mk("edgehub", daemon.EdgeHub().Main), mk("cloudhub", daemon.CloudHub().Main)}
}
