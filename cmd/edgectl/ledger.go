package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	edge "github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/internal/reconcile"
)

// ledgerReport is what `edgectl ledger` prints.
type ledgerReport struct {
	Balanced bool              `json:"balanced"`
	Edge     edge.Ledger       `json:"edge"`
	Upstream *reconcile.Report `json:"upstream,omitempty"`
}

func ledgerCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "ledger", Short: "Does it add up: edge accounts, and edge against cloud by sequences", Args: noArgs,
		Long: "Prints the accounts of an edgehub and compares the sequences of its uplink with what\nthe cloud has. Exit code 1 if anything does not add up.",
	}
	hub := edgeFlag(cmd)
	other := cloudFlag(cmd)
	only := cmd.Flags().Bool("edge-only", false, "do not ask the cloud")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var r ledgerReport
		var err error
		if r.Edge, err = hub().Ledger(cmd.Context()); err != nil {
			return err
		}
		r.Balanced = r.Edge.Total.Balanced
		if !*only {
			c, err := other()
			if err != nil {
				return err
			}
			up, err := reconcile.Fetch(cmd.Context(), hub(), c)
			if err != nil {
				return err
			}
			r.Upstream, r.Balanced = &up, r.Balanced && up.Balanced
		}
		if err := out.print(r, func(w io.Writer) { r.print(w) }); err != nil {
			return err
		}
		if !r.Balanced {
			return errQuiet
		}
		return nil
	}
	return cmd
}

func (r *ledgerReport) print(w io.Writer) {
	printAccounts(w, r.Edge)
	if u := r.Upstream; u != nil {
		row(w)
		row(w, "upstream of", u.Device, "epoch", u.Epoch)
		row(w, "sequences given", u.Given)
		row(w, "in the cloud", u.InCloud)
		row(w, "waiting", u.Waiting)
		for reason, n := range u.Undelivered {
			row(w, reason, n)
		}
		row(w, "refused as duplicates", u.Duplicates)
		for _, m := range u.Missing {
			row(w, "MISSING", fmt.Sprintf("%d to %d", m.From, m.To))
		}
		if u.MissingBelow > 0 {
			row(w, "MISSING", u.MissingBelow, "in the oldest part")
		}
		for _, m := range u.Unexpected {
			row(w, "UNEXPECTED", fmt.Sprintf("%d to %d", m.From, m.To))
		}
	}
	row(w)
	row(w, "balanced", yes(r.Balanced))
}
