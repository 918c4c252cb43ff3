package main

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// delivered is one message of sub.
type delivered struct {
	Topic    string `json:"topic"`
	Retained bool   `json:"retained,omitempty"`
	Body     string `json:"body,omitempty"`
	Base64   []byte `json:"body_base64,omitempty"` // of what is not text
}

func subCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "sub FILTER", Short: "Subscribe and print what arrives", Args: oneArg,
		Long: "Prints every message on FILTER as it comes. Ends after --count messages, or with Ctrl-C.",
	}
	f := addMQTTFlags(cmd)
	qos := cmd.Flags().Uint8P("qos", "q", 1, "0, 1 or 2")
	count := cmd.Flags().IntP("count", "n", 0, "stop after so many messages; 0: never")
	keep := cmd.Flags().Bool("keep-session", false, "leave a session behind that queues what comes meanwhile")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := within("qos", int(*qos), 0, 2); err != nil {
			return err
		}
		if *count < 0 {
			return usage("--count cannot be negative")
		}
		if *keep && f.o.Device == "" && f.o.ClientID == "" {
			return usage("--keep-session needs --client-id or --device: the session is found again by that name")
		}
		if err := f.check(); err != nil {
			return err
		}
		f.o.Clean = !*keep
		err := receive(cmd.Context(), f, out, args[0], *qos, *count)
		if *count == 0 && errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how this ends
		}
		return err
	}
	return cmd
}

// receive prints count messages, or all until ctx ends when count is 0.
func receive(ctx context.Context, f *mqttFlags, out *output, filter string, qos byte, count int) error {
	c, err := f.dial(ctx, out, func(error) {})
	if err != nil {
		return err
	}
	defer c.Close()
	done := make(chan error, 1)
	n, over := 0, false // of the handler
	end := func(err error) { over = true; done <- err }
	err = c.Subscribe(ctx, filter, qos, func(topic string, body []byte, retained bool) {
		if over {
			return
		}
		n++
		if err := show(out, topic, body, retained); err != nil {
			end(fmt.Errorf("print message: %w", err))
		} else if n == count {
			end(nil)
		}
	})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func show(out *output, topic string, body []byte, retained bool) error {
	d := delivered{Topic: topic, Retained: retained}
	if utf8.Valid(body) {
		d.Body = string(body)
	} else {
		d.Base64 = body
	}
	return out.stream(d, func() string { return printable([]byte(topic)) + " " + printable(body) })
}
