package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/internal/replay"
	"github.com/penstock-io/penstock/message"
)

// replayed sums up a replay.
type replayed struct {
	Rows         int     `json:"rows"`
	Acknowledged int     `json:"acknowledged"`
	Seconds      float64 `json:"seconds"`
}

const longReplay = `Reads a CSV file (comma, semicolon or tab, with column names) or a table separated by blanks
and publishes each row as one JSON message. Every row carries a message id made from the file's
name and the row's number, so that a replay which is repeated soon is recognised as the same messages.`

// replayFlags say what to publish and how fast.
type replayFlags struct {
	rate   float64
	limit  int
	window int
	topic  string
}

func replayCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "replay FILE", Short: "Publish the rows of a recorded series as JSON messages of a device", Args: oneArg, Long: longReplay}
	f := addMQTTFlags(cmd)
	var r replayFlags
	s := cmd.Flags()
	s.Float64Var(&r.rate, "rate", 100, "rows per second; 0: as fast as the hub acknowledges")
	s.IntVar(&r.limit, "limit", 0, "stop after so many rows; 0: all")
	s.IntVar(&r.window, "window", 256, "publishes under way, 1 to 10000")
	s.StringVar(&r.topic, "topic", "", "publish on this plain topic instead of the device's telemetry")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := r.check(f); err != nil {
			return err
		}
		file, err := os.Open(args[0])
		if err != nil {
			return usageError{err}
		}
		defer file.Close()
		rows, err := replay.Open(file)
		if err != nil {
			return usage("%s: %w", args[0], err)
		}
		c, err := f.dial(cmd.Context(), out, func(error) {})
		if err != nil {
			return err
		}
		defer c.Close()
		p := player{replayFlags: r, c: c, rows: rows, id: filepath.Base(args[0]), device: f.o.Device, module: f.o.Module}
		return p.report(cmd.Context(), out)
	}
	return cmd
}

func (r *replayFlags) check(f *mqttFlags) error {
	if r.rate < 0 || math.IsNaN(r.rate) {
		return usage("--rate %g: want 0 or more", r.rate)
	}
	if err := within("limit", r.limit, 0, math.MaxInt); err != nil {
		return err
	}
	if err := within("window", r.window, 1, 10_000); err != nil {
		return err
	}
	if f.o.Device == "" && r.topic == "" {
		return usage("say --device, or --topic")
	}
	return f.check()
}

// player publishes rows with a window of unacknowledged ones.
type player struct {
	replayFlags
	c                  *leaf.Client
	rows               *replay.Rows
	id, device, module string

	under []*leaf.Sent // in the order of rows
	sum   replayed
}

func (p *player) report(ctx context.Context, out *output) error {
	start := time.Now()
	failed := p.play(ctx)
	p.sum.Seconds = time.Since(start).Seconds()
	err := out.print(p.sum, func(w io.Writer) {
		fmt.Fprintf(w, "%s, %d acknowledged, %.1f s\n", plural(p.sum.Rows, "row"), p.sum.Acknowledged, p.sum.Seconds)
	})
	return errors.Join(failed, err)
}

func (p *player) play(ctx context.Context) error {
	pace := rate.NewLimiter(rate.Inf, 1)
	if p.rate > 0 {
		pace = rate.NewLimiter(rate.Limit(p.rate), 1+int(p.rate/50))
	}
	for p.limit == 0 || p.sum.Rows < p.limit {
		body, n, err := p.rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(usage("%s: %w", p.id, err), p.settle(ctx, 0))
		}
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		p.under = append(p.under, p.c.Publish(p.message(body, n)))
		p.sum.Rows++
		if err := p.settle(ctx, p.window-1); err != nil {
			return err
		}
	}
	return p.settle(ctx, 0)
}

// settle waits until no more than keep rows are under way.
func (p *player) settle(ctx context.Context, keep int) error {
	for len(p.under) > keep {
		if err := p.under[0].Wait(ctx); err != nil {
			return fmt.Errorf("row %d not acknowledged: %w", p.sum.Acknowledged+1, err)
		}
		p.under = p.under[1:]
		p.sum.Acknowledged++
	}
	return nil
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
