package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
)

func monitorCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "monitor", Short: "Show what arrives in the cloud", Args: noArgs,
		Long: "Follows the stream of received messages. Without --since it begins with what arrives now.",
	}
	hub := cloudFlag(cmd)
	var q cloud.Query
	s := cmd.Flags()
	s.StringVar(&q.Device, "device", "", "only this device")
	s.StringVar(&q.Module, "module", "", "only this module")
	s.StringVar(&q.Subject, "subject", "", "only subjects that match this NATS pattern")
	s.IntVarP(&q.Limit, "count", "n", 0, "stop after so many; 0: never")
	since := s.Duration("since", 0, "begin with messages this old, such as 10m")
	once := s.Bool("no-follow", false, "stop at the end of what is there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := hub()
		if err != nil {
			return err
		}
		q.Follow = !*once
		if *since > 0 {
			q.Since = time.Now().Add(-*since)
		}
		return c.Messages(cmd.Context(), q, func(m *cloud.Message) error {
			return out.stream(m, func(w io.Writer) {
				from := m.Topic
				if from == "" {
					from = m.Device
				}
				if m.Module != "" {
					from += "/" + m.Module + "/" + m.Output
				}
				fmt.Fprintf(w, "%s %s %s\n", m.Received.Local().Format("15:04:05.000"), from, m.Body)
			})
		})
	}
	return cmd
}
