package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/message"
)

const (
	maxBody     = 256 << 10 // of one message, as hubs take it (contract 2.7)
	pubPatience = 30 * time.Second
	maxLosses   = 3
)

// published is what pub prints for programs.
type published struct {
	Bytes   int     `json:"bytes"`
	Seconds float64 `json:"seconds"` // until the hub acknowledged
}

// pubFlags are what a publication is made of.
type pubFlags struct {
	output string
	qos    uint8
	retain bool
	props  map[string]string
}

func pubCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pub [TOPIC] BODY", Short: "Publish one message and wait until the hub has acknowledged it", Args: oneOrTwoArgs,
		Long: "Publishes BODY (- reads it from standard input) on TOPIC, or, without a topic, as telemetry\nof --device, or as an --output-name of --module.",
	}
	f := addMQTTFlags(cmd)
	f.o.Clean = true
	var p pubFlags
	s := cmd.Flags()
	s.StringVar(&p.output, "output-name", "", "output of the module")
	s.Uint8VarP(&p.qos, "qos", "q", 1, "0, 1 or 2")
	s.BoolVarP(&p.retain, "retain", "r", false, "keep as the topic's last message")
	s.StringToStringVarP(&p.props, "property", "p", nil, "application property name=value, of telemetry")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m, err := p.message(f, args)
		if err != nil {
			return err
		}
		if err := f.check(); err != nil {
			return err
		}
		if m.Body, err = bodyOf(args[len(args)-1], cmd.InOrStdin()); err != nil {
			return err
		}
		start := time.Now()
		if err := publish(cmd.Context(), f, out, m); err != nil {
			return err
		}
		return out.print(published{len(m.Body), time.Since(start).Seconds()}, func(io.Writer) {})
	}
	return cmd
}

// message is everything but the body.
func (p *pubFlags) message(f *mqttFlags, args []string) (*message.Message, error) {
	if err := within("qos", int(p.qos), 0, 2); err != nil {
		return nil, err
	}
	m := &message.Message{QoS: p.qos, Retain: p.retain, Output: p.output, Device: f.o.Device, Module: f.o.Module}
	switch {
	case p.output != "" && f.o.Module == "":
		return nil, usage("--output-name needs --module")
	case len(args) == 2 && (p.output != "" || len(p.props) > 0):
		return nil, usage("--property and --output-name are for telemetry: leave the topic out")
	case len(args) == 2:
		m.Kind, m.Topic = message.Plain, args[0]
	case f.o.Device == "":
		return nil, usage("without a topic, say --device")
	}
	for _, name := range slices.Sorted(maps.Keys(p.props)) {
		m.Properties = append(m.Properties, message.Property{Name: name, Value: p.props[name]})
	}
	return m, nil
}

func bodyOf(arg string, stdin io.Reader) ([]byte, error) {
	if arg != "-" {
		return []byte(arg), nil
	}
	b, err := io.ReadAll(io.LimitReader(stdin, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read body from standard input: %w", err)
	}
	if len(b) > maxBody {
		return nil, usage("the body on standard input is longer than %d bytes, the most a hub takes", maxBody)
	}
	return b, nil
}

// publish waits for the acknowledgement. MQTT 3.1.1 has no other way to refuse a
// message than to end the connection, so a few losses are an answer.
func publish(ctx context.Context, f *mqttFlags, out *output, m *message.Message) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pubPatience, fmt.Errorf("the hub did not answer within %v", pubPatience))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	losses := 0
	c, err := f.dial(ctx, out, func(err error) {
		if losses++; losses == maxLosses {
			stop(fmt.Errorf("the hub ended the connection %d times, it may not allow this message, its log says why: %w", losses, err))
		}
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Publish(m).Wait(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("publish: not acknowledged: %w", err)
	}
	return nil
}
