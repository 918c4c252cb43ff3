package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/internal/replay"
	"github.com/penstock-io/penstock/internal/tlsfiles"
	"github.com/penstock-io/penstock/message"
)

// mqttFlags are how pub, sub and replay log in.
type mqttFlags struct {
	o                      leaf.Options
	key, keyFile, password string
	ca                     string
}

func addMQTTFlags(cmd *cobra.Command) *mqttFlags {
	f := &mqttFlags{}
	s := cmd.Flags()
	s.StringVar(&f.o.Address, "address", "127.0.0.1:1883", "the hub's MQTT listener: host:port or mqtt://, mqtts://, ws://, wss://")
	s.StringVar(&f.o.Host, "hub-host", "penstock", "the hub's name in SAS tokens (hub_host in its configuration)")
	s.StringVar(&f.o.Device, "device", "", "log in as this device")
	s.StringVar(&f.o.Module, "module", "", "…as this module of it")
	s.StringVar(&f.keyFile, "key-file", "", "file with the device's or module's key, base64")
	s.StringVar(&f.o.User, "user", "", "log in with this user name; the password is in $PENSTOCK_PASSWORD")
	s.StringVar(&f.o.ClientID, "client-id", "", "client id (plain clients; default: one of its own)")
	s.StringVar(&f.ca, "ca-file", "", "certificate authorities of a TLS listener")
	return f
}

func (f *mqttFlags) dial(ctx context.Context, out *output) (*leaf.Client, error) {
	f.o.Password = identity.Secret(os.Getenv("PENSTOCK_PASSWORD"))
	if f.keyFile != "" {
		b, err := os.ReadFile(f.keyFile)
		if err != nil {
			return nil, usageError{err}
		}
		f.o.Key = identity.Secret(strings.TrimSpace(string(b)))
	}
	if f.o.Device != "" && f.o.Key == "" {
		return nil, usage("--device needs --key-file")
	}
	if f.o.ClientID == "" {
		f.o.ClientID = fmt.Sprintf("edgectl-%d", os.Getpid())
	}
	if f.ca != "" {
		pool, err := tlsfiles.Pool(f.ca)
		if err != nil {
			return nil, usageError{err}
		}
		f.o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	f.o.OnState = func(up bool, err error) {
		if !up {
			out.note("connection lost, trying again: %v", err)
		}
	}
	c, err := leaf.New(f.o)
	if err != nil {
		return nil, usageError{err}
	}
	return c, c.Connect(ctx)
}

func pubCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pub [TOPIC] BODY", Short: "Publish one message and wait until the hub has acknowledged it",
		Long: "Publishes BODY (- reads it from standard input) on TOPIC, or, without a topic, as telemetry\nof --device, or as an --output of --module.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("usage: %s", cmd.UseLine())
			}
			return nil
		},
	}
	f := addMQTTFlags(cmd)
	f.o.Clean = true
	output := cmd.Flags().String("output-name", "", "output of the module")
	qos := cmd.Flags().Uint8P("qos", "q", 1, "0, 1 or 2")
	retain := cmd.Flags().BoolP("retain", "r", false, "keep as the topic's last message")
	props := cmd.Flags().StringToStringP("property", "p", nil, "application property name=value, of telemetry")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m := &message.Message{QoS: min(*qos, 2), Retain: *retain, Output: *output, Device: f.o.Device, Module: f.o.Module}
		body := args[len(args)-1]
		m.Body = []byte(body)
		if body == "-" {
			var err error
			if m.Body, err = io.ReadAll(io.LimitReader(os.Stdin, 1<<20)); err != nil {
				return err
			}
		}
		if len(args) == 2 {
			m.Kind, m.Topic = message.Plain, args[0]
		} else if f.o.Device == "" {
			return usage("without a topic, say --device")
		}
		for k, v := range *props {
			m.Properties = append(m.Properties, message.Property{Name: k, Value: v})
		}
		c, err := f.dial(cmd.Context(), out)
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
		defer cancel()
		if err := c.Publish(m).Wait(ctx); err != nil {
			return fmt.Errorf("not acknowledged: %w", err)
		}
		return nil
	}
	return cmd
}

// received is one line of sub.
type received struct {
	Topic    string `json:"topic"`
	Retained bool   `json:"retained,omitempty"`
	Body     string `json:"body,omitempty"`
	Base64   []byte `json:"body_base64,omitempty"`
}

func subCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "sub FILTER", Short: "Subscribe and print what arrives", Args: exactly(1)}
	f := addMQTTFlags(cmd)
	qos := cmd.Flags().Uint8P("qos", "q", 1, "0, 1 or 2")
	count := cmd.Flags().IntP("count", "n", 0, "stop after so many messages; 0: never")
	keep := cmd.Flags().Bool("keep-session", false, "leave a session behind that queues what comes meanwhile")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.o.Clean = !*keep
		c, err := f.dial(cmd.Context(), out)
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, done := context.WithCancelCause(cmd.Context())
		n := 0
		err = c.Subscribe(ctx, args[0], min(*qos, 2), func(topic string, body []byte, retained bool) {
			if *count > 0 && n >= *count {
				return
			}
			n++
			r := received{Topic: topic, Retained: retained}
			if utf8.Valid(body) {
				r.Body = string(body)
			} else {
				r.Base64 = body
			}
			if err := out.stream(r, func(w io.Writer) { fmt.Fprintf(w, "%s %s\n", topic, body) }); err != nil {
				done(err)
			}
			if n == *count {
				done(nil)
			}
		})
		if err != nil {
			return err
		}
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return cause
		}
		return nil
	}
	return cmd
}

// replayed sums up a replay.
type replayed struct {
	Rows         int     `json:"rows"`
	Acknowledged int     `json:"acknowledged"`
	Seconds      float64 `json:"seconds"`
}

func replayCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay FILE", Short: "Publish the rows of a recorded series as JSON messages of a device", Args: exactly(1),
		Long: "Reads a CSV file (comma, semicolon or tab, with column names) or a table separated by blanks\nand publishes each row as one JSON message. Every row carries a message id made from the file\nand the row, so a replay that is repeated soon is recognised as the same messages.",
	}
	f := addMQTTFlags(cmd)
	perSecond := cmd.Flags().Float64("rate", 100, "rows per second; 0: as fast as the hub acknowledges")
	limit := cmd.Flags().Int("limit", 0, "stop after so many rows; 0: all")
	window := cmd.Flags().Int("window", 256, "publishes under way")
	topic := cmd.Flags().String("topic", "", "publish on this plain topic instead of the device's telemetry")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file, err := os.Open(args[0])
		if err != nil {
			return usageError{err}
		}
		defer file.Close()
		rows, err := replay.Open(file)
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", args[0], err)}
		}
		if f.o.Device == "" && *topic == "" {
			return usage("say --device, or --topic")
		}
		c, err := f.dial(cmd.Context(), out)
		if err != nil {
			return err
		}
		defer c.Close()
		p := player{c: c, rows: rows, id: filepath.Base(args[0]), device: f.o.Device, module: f.o.Module, topic: *topic, limit: *limit, window: max(1, *window)}
		if *perSecond > 0 {
			p.pace = rate.NewLimiter(rate.Limit(*perSecond), 1+int(*perSecond/50))
		}
		start := time.Now()
		sum, err := p.play(cmd.Context())
		sum.Seconds = time.Since(start).Seconds()
		if perr := out.print(sum, func(w io.Writer) {
			fmt.Fprintf(w, "%d rows, %d acknowledged, %.1f s\n", sum.Rows, sum.Acknowledged, sum.Seconds)
		}); perr != nil {
			return perr
		}
		return err
	}
	return cmd
}

// player publishes rows with a window of unacknowledged ones.
type player struct {
	c                         *leaf.Client
	rows                      *replay.Rows
	pace                      *rate.Limiter
	id, device, module, topic string
	limit, window             int
}

func (p *player) play(ctx context.Context) (sum replayed, err error) {
	var under []*leaf.Sent
	settle := func(keep int) error {
		for len(under) > keep {
			if err := under[0].Wait(ctx); err != nil {
				return fmt.Errorf("row %d not acknowledged: %w", sum.Acknowledged+1, err)
			}
			under = under[1:]
			sum.Acknowledged++
		}
		return nil
	}
	for p.limit == 0 || sum.Rows < p.limit {
		body, n, err := p.rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sum, errors.Join(usageError{err}, settle(0))
		}
		if p.pace != nil {
			if err := p.pace.Wait(ctx); err != nil {
				return sum, err
			}
		}
		under = append(under, p.c.Publish(p.message(body, n)))
		sum.Rows++
		if err := settle(p.window - 1); err != nil {
			return sum, err
		}
	}
	return sum, settle(0)
}

func (p *player) message(body []byte, n int) *message.Message {
	m := &message.Message{QoS: 1, Body: body, Device: p.device, Module: p.module, System: []message.Property{
		{Name: message.SysMessageID, Value: fmt.Sprintf("%s:%d", p.id, n)},
		{Name: message.SysContentType, Value: "application/json"},
		{Name: message.SysContentEncoding, Value: "utf-8"},
	}}
	if p.topic != "" {
		m.Kind, m.Topic = message.Plain, p.topic
	}
	return m
}
