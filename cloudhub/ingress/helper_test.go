package ingress

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

const patience = 20 * time.Second

// cloud is an embedded server in a folder that outlives it.
type cloud struct {
	t    testing.TB
	dir  string
	addr string // where it listens, the same after every start
	srv  *stream.Server
}

func newCloud(t testing.TB) *cloud {
	t.Helper()
	c := &cloud{t: t, dir: t.TempDir(), addr: "127.0.0.1:0"}
	c.start()
	t.Cleanup(c.stop)
	return c
}

func (c *cloud) start() {
	c.t.Helper()
	srv, err := stream.StartServer(stream.ServerConfig{Dir: filepath.Join(c.dir, "nats"), Listen: c.addr, Token: "t"}, quiet())
	if err != nil {
		c.t.Fatal(err)
	}
	c.srv, c.addr = srv, srv.Addr().String()
}

func (c *cloud) stop() {
	if c.srv != nil {
		c.srv.Shutdown()
		c.srv = nil
	}
}

// open connects over TCP, as to a cluster that may go away and come back.
func (c *cloud) open() *stream.Stream {
	c.t.Helper()
	nc, err := stream.Connect("nats://"+c.addr, nats.Token("t"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	s, err := stream.Open(ctx(c.t), nc, stream.Config{})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *cloud) snapshot() string { return filepath.Join(c.dir, "index.snapshot") }

// ingress starts one on s; stop ends it and waits.
func (c *cloud) ingress(s *stream.Stream, cfg Config) (g *Ingress, stop func()) {
	c.t.Helper()
	if cfg.Snapshot == "" {
		cfg.Snapshot = c.snapshot()
	}
	g, err := New(ctx(c.t), s, cfg, quiet())
	if err != nil {
		c.t.Fatal(err)
	}
	return g, run(c.t, g)
}

func run(t testing.TB, g *Ingress) (stop func()) {
	rctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(rctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run ingress: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// accept sends the messages as one batch; the channel answers with Done's errs.
func accept(g *Ingress, ms ...message.Message) <-chan []error {
	answer := make(chan []error, 1)
	g.Accept(&message.Batch{Messages: ms, Done: func(_ *message.Batch, errs []error) { answer <- errs }})
	return answer
}

func wait[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("no answer in time")
		panic("unreachable")
	}
}

func mustAccept(t testing.TB, g *Ingress, ms ...message.Message) {
	t.Helper()
	if errs := wait(t, accept(g, ms...)); errs != nil {
		t.Fatalf("accept: %v", errs)
	}
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// sent is a run of messages from one edge epoch, sequences from to to.
func sent(edge, epoch string, from, to uint64) []message.Message {
	var ms []message.Message
	for seq := from; seq <= to; seq++ {
		ms = append(ms, message.Message{
			Kind: message.Telemetry, Device: "leaf", Accepted: 1_700_000_000_000 + int64(seq), Body: fmt.Appendf(nil, "%d", seq),
			Origin: message.Origin{Device: edge, Epoch: epoch, Seq: seq, Floor: 1},
		})
	}
	return ms
}

// holdings lists the origins in the stream, in the stream's order.
func holdings(t testing.TB, s *stream.Stream) []string {
	t.Helper()
	var all []string
	_, err := s.Headers(ctx(t), 1, func(m *stream.Stored) error {
		o, err := stream.DecodeOrigin(m.Header)
		all = append(all, stream.OriginText(o))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func expected(edge, epoch string, from, to uint64) []string {
	var all []string
	for seq := from; seq <= to; seq++ {
		all = append(all, fmt.Sprintf("%s/%s/%d", edge, epoch, seq))
	}
	return all
}

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return c
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
