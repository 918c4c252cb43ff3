package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
)

func monitorCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "monitor", Short: "Show what arrives in the cloud", Args: noArgs,
		Long: "Follows the stream of received messages. Without --since it begins with what arrives now;\nwith --no-follow it shows what is stored and ends.",
	}
	hub := cloudFlag(cmd)
	var q cloud.Query
	s := cmd.Flags()
	s.StringVar(&q.Device, "device", "", "only this device")
	s.StringVar(&q.Module, "module", "", "only this module")
	s.StringVar(&q.Subject, "subject", "", "only subjects that match this NATS pattern; not with --device")
	s.IntVarP(&q.Limit, "count", "n", 0, "stop after so many; 0: never")
	since := s.Duration("since", 0, "begin with messages this old, such as 10m")
	once := s.Bool("no-follow", false, "stop at the end of what is there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if q.Limit < 0 || *since < 0 {
			return usage("--count and --since cannot be negative")
		}
		if q.Subject != "" && q.Device != "" {
			return usage("--subject and --device exclude each other")
		}
		c, err := hub()
		if err != nil {
			return err
		}
		q.Follow = !*once
		if *since > 0 {
			q.Since = time.Now().Add(-*since)
		}
		err = c.Messages(cmd.Context(), q, func(m *cloud.Message) error {
			return out.stream(m, func() string { return received(m) })
		})
		if q.Follow && q.Limit == 0 && errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how following ends
		}
		return err
	}
	return cmd
}

func received(m *cloud.Message) string {
	body, err := m.Payload()
	if err != nil {
		body = m.Body
	}
	return fmt.Sprintf("%s %s %s", m.Received.Local().Format("15:04:05.000"), source(m.Topic, m.Device, m.Module, m.Output), printable(body))
}
