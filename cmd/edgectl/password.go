package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/identity"
)

func passwordCommand(out *output) *cobra.Command {
	return &cobra.Command{
		Use: "password", Short: "Hash a password, read from standard input, for auth.users", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read password: %w", err)
			}
			password := strings.TrimRight(line, "\r\n")
			if password == "" {
				return usage("no password on standard input")
			}
			hash, err := identity.HashPassword(password)
			if err != nil {
				return err
			}
			return out.print(map[string]string{"password_hash": hash}, func(w io.Writer) { fmt.Fprintln(w, hash) })
		},
	}
}
