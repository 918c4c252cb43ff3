package main

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	edge "github.com/penstock-io/penstock/edgehub/client"
)

func statusCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "What a running edgehub says of itself", Args: noArgs}
	hub := edgeFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := hub().Status(cmd.Context())
		if err != nil {
			return err
		}
		return out.print(s, func(w io.Writer) { printStatus(w, &s) })
	}
	return cmd
}

func printStatus(w io.Writer, s *edge.Status) {
	row(w, "device", s.Device)
	row(w, "version", s.Version)
	row(w, "up", time.Since(s.Started).Round(time.Second))
	if u := s.Uplink; u != nil {
		row(w, "uplink", strings.TrimSpace(u.State+" "+u.Address))
		if u.LastError != "" {
			row(w, "uplink's last error", u.LastError)
		}
		row(w, "sent upstream", u.Sent)
	} else {
		row(w, "uplink", "none configured")
	}
	row(w, "rules in force", s.Rules.Active)
	for _, e := range s.Rules.Errors {
		row(w, "rule error", e)
	}
	row(w, "clients", s.Broker.Connections)
	row(w, "publishes refused", s.Broker.Refused)
	row(w, "bytes queued", s.Store.QueuedBytes)
	row(w, "bytes on disk", s.Store.DiskBytes)
	if s.Store.DiskFull {
		row(w, "disk", "FULL: messages are refused until there is room")
	}
}
