package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	edge "github.com/penstock-io/penstock/edgehub/client"
)

func queueCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "queue", Short: "Queues of a running edgehub", RunE: group}
	cmd.AddCommand(queueList(out), queuePeek(out, false), queuePeek(out, true), queueRequeue(out), queuePurge(out))
	return cmd
}

func queueList(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List queues with what each rule put there and what became of it", Args: noArgs}
	hub := edgeFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := hub().Ledger(cmd.Context())
		if err != nil {
			return err
		}
		return out.print(l.Entries, func(w io.Writer) { printAccounts(w, l) })
	}
	return cmd
}

func printAccounts(w io.Writer, l edge.Ledger) {
	row(w, "QUEUE", "RULE", "ACCEPTED", "DELIVERED", "QUEUED", "EXPIRED", "DROPPED", "BURIED", "RATE", "OLDEST", "BALANCED")
	for _, e := range l.Entries {
		age := (time.Duration(e.OldestAgeSeconds*1000) * time.Millisecond).Round(100 * time.Millisecond)
		row(w, e.Queue, e.Rule, e.Accepted, e.Delivered, e.Queued, e.Expired, e.DroppedTotal(), e.Buried, fmt.Sprintf("%.1f/s", e.Rate), age, yes(e.Balanced))
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

func queuePeek(out *output, dead bool) *cobra.Command {
	cmd := &cobra.Command{Use: "peek QUEUE", Short: "Show waiting messages; they stay where they are", Args: exactly(1)}
	if dead {
		cmd.Use, cmd.Short = "dead QUEUE", "Show dead letters with their causes"
	}
	hub := edgeFlag(cmd)
	from := cmd.Flags().Uint64("from", 0, "first sequence to show")
	limit := cmd.Flags().IntP("limit", "n", 20, "how many, at most 1000")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		read := hub().Peek
		if dead {
			read = hub().Dead
		}
		ms, err := read(cmd.Context(), args[0], *from, *limit)
		if err != nil {
			return err
		}
		return out.print(ms, func(w io.Writer) {
			for _, m := range ms {
				from := m.Topic
				if from == "" {
					from = m.Device + "/" + m.Module + "/" + m.Output
				}
				row(w, m.Seq, m.Accepted.Format(time.RFC3339), m.Rule, from, m.Cause, string(m.Body))
			}
		})
	}
	return cmd
}

func queueRequeue(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "requeue QUEUE [SEQUENCE…]", Short: "Put dead letters back, all or those named",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("usage: %s", cmd.UseLine())
			}
			return nil
		},
	}
	hub := edgeFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var seqs []uint64
		for _, a := range args[1:] {
			n, err := strconv.ParseUint(a, 10, 64)
			if err != nil {
				return usage("%q is not a sequence", a)
			}
			seqs = append(seqs, n)
		}
		n, err := hub().Requeue(cmd.Context(), args[0], seqs...)
		if err != nil {
			return err
		}
		return out.print(edge.Count{Messages: n}, func(w io.Writer) { fmt.Fprintf(w, "%d messages are in the queue again\n", n) })
	}
	return cmd
}

func queuePurge(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "purge QUEUE", Short: "Empty a queue; what was in it is counted as dropped", Args: exactly(1)}
	hub := edgeFlag(cmd)
	dead := cmd.Flags().Bool("dead", false, "delete its dead letters instead")
	sure := cmd.Flags().Bool("yes", false, "really do it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*sure {
			return usage("purge deletes messages for good: say --yes if that is what you want")
		}
		n, err := hub().Purge(cmd.Context(), args[0], *dead)
		if err != nil {
			return err
		}
		return out.print(edge.Count{Messages: n}, func(w io.Writer) { fmt.Fprintf(w, "%d messages deleted\n", n) })
	}
	return cmd
}
