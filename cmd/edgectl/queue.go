package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	edge "github.com/penstock-io/penstock/edgehub/client"
)

func queueCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "queue", Short: "Queues of a running edgehub", RunE: group}
	cmd.AddCommand(queueList(out), queuePeek(out), queueDead(out), queueRequeue(out), queuePurge(out))
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
		return out.print(append([]edge.Entry{}, l.Entries...), func(w io.Writer) { printAccounts(w, l.Entries) })
	}
	return cmd
}

func printAccounts(w io.Writer, es []edge.Entry) {
	row(w, "QUEUE", "RULE", "ACCEPTED", "DELIVERED", "QUEUED", "EXPIRED", "DROPPED", "BURIED", "RATE", "OLDEST", "BALANCED")
	for i := range es {
		e := &es[i]
		row(w, e.Queue, e.Rule, e.Accepted, e.Delivered, e.Queued, e.Expired, e.DroppedTotal(), e.Buried,
			fmt.Sprintf("%.1f/s", e.Rate), age(&e.Figures), yes(e.Balanced))
	}
}

// age is that of the oldest message that waits.
func age(f *edge.Figures) time.Duration {
	return (time.Duration(f.OldestAgeSeconds*1000) * time.Millisecond).Round(100 * time.Millisecond)
}

func queuePeek(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "peek QUEUE", Short: "Show waiting messages; they stay where they are", Args: oneArg}
	return showing(cmd, out, func(c *edge.Client) reader { return c.Peek })
}

func queueDead(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "dead QUEUE", Short: "Show dead letters with their causes", Args: oneArg}
	return showing(cmd, out, func(c *edge.Client) reader { return c.Dead })
}

// maxPage is the most messages a hub gives at once.
const maxPage = 1000

// reader is a page of a queue, from a sequence on.
type reader = func(ctx context.Context, queue string, from uint64, limit int) ([]edge.Message, error)

func showing(cmd *cobra.Command, out *output, read func(*edge.Client) reader) *cobra.Command {
	hub := edgeFlag(cmd)
	from := cmd.Flags().Uint64("from", 0, "first sequence to show")
	limit := cmd.Flags().IntP("limit", "n", 20, "how many, at most 1000")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := within("limit", *limit, 1, maxPage); err != nil {
			return err
		}
		ms, err := read(hub())(cmd.Context(), args[0], *from, *limit)
		if err != nil {
			return err
		}
		return out.print(ms, func(w io.Writer) { printMessages(w, ms) })
	}
	return cmd
}

func printMessages(w io.Writer, ms []edge.Message) {
	row(w, "SEQUENCE", "ACCEPTED", "RULE", "FROM", "CAUSE", "BODY")
	for i := range ms {
		m := &ms[i]
		row(w, m.Seq, m.Accepted.Format(time.RFC3339), m.Rule, source(m.Topic, m.Device, m.Module, m.Output), printable([]byte(m.Cause)), body(m))
	}
}

// source names where a message comes from.
func source(topic, device, module, output string) string {
	if topic != "" {
		return topic
	}
	return strings.TrimRight(device+"/"+module+"/"+output, "/")
}

func body(m *edge.Message) string {
	var text string
	switch {
	case m.BodyBase64 != nil:
		return printable(m.BodyBase64)
	case json.Unmarshal(m.Body, &text) == nil:
		return printable([]byte(text))
	}
	return printable(m.Body)
}

func queueRequeue(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "requeue QUEUE [SEQUENCE…]", Short: "Put dead letters back, all or those named", Args: someArgs}
	hub := edgeFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var seqs []uint64
		for _, a := range args[1:] {
			n, err := strconv.ParseUint(a, 10, 64)
			if err != nil {
				return usage("%q is not a sequence, want a number as shown by queue dead", a)
			}
			seqs = append(seqs, n)
		}
		n, err := hub().Requeue(cmd.Context(), args[0], seqs...)
		if err != nil {
			return err
		}
		return out.print(edge.Count{Messages: n}, func(w io.Writer) { fmt.Fprintln(w, plural(n, "message"), "back in the queue") })
	}
	return cmd
}

func queuePurge(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "purge QUEUE", Short: "Empty a queue; what was in it is counted as dropped", Args: oneArg}
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
		return out.print(edge.Count{Messages: n}, func(w io.Writer) { fmt.Fprintln(w, plural(n, "message"), "deleted") })
	}
	return cmd
}
