package router

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// bench is a router over a real store.
type bench struct {
	t   testing.TB
	dir string
	cfg Config
	st  store.Config
	*Router
	store *store.Store
	stop  func()
}

// newBench opens a store in a folder of its own and a router over it; sinks may be nil.
func newBench(t testing.TB, cfg Config, st store.Config, sinks Sinks) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), cfg: cfg, st: st}
	b.open(sinks)
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) open(sinks Sinks) {
	b.t.Helper()
	if sinks == nil {
		sinks = func(string) (Sink, PumpConfig, bool) { return nil, PumpConfig{}, false }
	}
	b.st.Dir = b.dir
	var err error
	if b.store, err = store.Open(b.st); err != nil {
		b.t.Fatal(err)
	}
	if b.Router, err = New(b.cfg, b.store, sinks); err != nil {
		b.t.Fatal(err)
	}
	b.stop = func() {}
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r := b.Router
	go func() { ended <- r.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
	})
}

func (b *bench) close() {
	b.stop()
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) restart(sinks Sinks) {
	b.t.Helper()
	b.close()
	b.open(sinks)
}

// accept waits for the answer to one batch.
func (b *bench) accept(ms ...message.Message) []error {
	b.t.Helper()
	return b.acceptBatch(&message.Batch{Messages: ms})
}

func (b *bench) acceptBatch(batch *message.Batch) []error {
	b.t.Helper()
	done := make(chan []error, 1)
	batch.Done = func(_ *message.Batch, errs []error) { done <- errs }
	b.Accept(batch)
	select {
	case errs := <-done:
		return errs
	case <-time.After(20 * time.Second):
		b.t.Fatal("the batch was never answered")
		return nil
	}
}

func (b *bench) waiting(queue string) []message.Delivery {
	b.t.Helper()
	q, err := b.store.Queue(queue)
	if err != nil {
		b.t.Fatal(err)
	}
	ds, err := q.Peek(1, 1<<20)
	if err != nil {
		b.t.Fatal(err)
	}
	return ds
}

func (b *bench) bodies(queue string) []string {
	b.t.Helper()
	got := []string{}
	for _, d := range b.waiting(queue) {
		got = append(got, string(d.Body))
	}
	return got
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

// to is a rule set that sends everything to the queues it lists.
type to []string

func (q to) Match(_ *message.Message, dst []message.Target) []message.Target {
	for _, name := range q {
		dst = append(dst, message.Target{Queue: name, Rule: "all"})
	}
	return dst
}
func (q to) Queues() []string { return q }

// byTopic sends a message to the queues named in its topic, `a+b`.
type byTopic []string

func (q byTopic) Match(m *message.Message, dst []message.Target) []message.Target {
	for _, name := range strings.Split(m.Topic, "+") {
		if slices.Contains(q, name) {
			dst = append(dst, message.Target{Queue: name, Rule: "to-" + name})
		}
	}
	return dst
}
func (q byTopic) Queues() []string { return q }

func plain(topic, body string) message.Message {
	return message.Message{Kind: message.Plain, QoS: 1, Device: "press-7", Topic: topic, Body: []byte(body), Accepted: time.Now().UnixMilli()}
}

func withID(m message.Message, id string) message.Message {
	m.System = append(m.System, message.Property{Name: message.SysMessageID, Value: id})
	return m
}

func swap(t testing.TB, r *Router, rules Rules) {
	t.Helper()
	if err := r.Swap(rules); err != nil {
		t.Fatal(err)
	}
}
