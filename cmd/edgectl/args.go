package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The checks of arguments below end with the exit code for wrong usage, which
// those of cobra do not.

// group is what a command does that only holds others.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = max(cmd.SuggestionsMinimumDistance, 2) // of letters; cobra's default where it checks arguments itself
	hint := ", see --help"
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		hint = fmt.Sprintf(", did you mean %s?", strings.Join(similar, " or "))
	}
	return usage("%s has no command %q%s", cmd.CommandPath(), args[0], hint)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments, and there is %q", cmd.CommandPath(), args[0])
	}
	return nil
}

func oneArg(cmd *cobra.Command, args []string) error { return count(cmd, len(args) == 1) }

func oneOrTwoArgs(cmd *cobra.Command, args []string) error {
	return count(cmd, len(args) == 1 || len(args) == 2)
}

func someArgs(cmd *cobra.Command, args []string) error { return count(cmd, len(args) > 0) }

func count(cmd *cobra.Command, right bool) error {
	if !right {
		return usage("usage: %s", cmd.UseLine())
	}
	return nil
}

// within checks the value of a flag.
func within(flag string, n, least, most int) error {
	if n < least || n > most {
		return usage("--%s %d: want %d to %d", flag, n, least, most)
	}
	return nil
}
