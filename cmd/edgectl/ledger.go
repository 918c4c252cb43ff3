package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

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
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		var r ledgerReport
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
				return fmt.Errorf("compare with the cloud (--edge-only leaves that out): %w", err)
			}
			r.Upstream, r.Balanced = &up, r.Balanced && up.Balanced
		}
		if err := out.print(r, r.print); err != nil {
			return err
		}
		if !r.Balanced {
			return errFound
		}
		return nil
	}
	return cmd
}

func (r *ledgerReport) print(w io.Writer) {
	printAccounts(w, r.Edge.Entries)
	if r.Upstream != nil {
		row(w)
		printUpstream(w, r.Upstream)
	}
	row(w)
	row(w, "balanced", yes(r.Balanced))
}

func printUpstream(w io.Writer, u *reconcile.Report) {
	row(w, "upstream of", u.Device, "epoch", u.Epoch)
	row(w, "sequences given", u.Given)
	row(w, "in the cloud", u.InCloud)
	row(w, "waiting", u.Waiting)
	for _, reason := range slices.Sorted(maps.Keys(u.Undelivered)) {
		row(w, reason, u.Undelivered[reason])
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
