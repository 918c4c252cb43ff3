package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/identity"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// guard admits everybody as the user it names; deny lists topics nobody may use.
type guard struct {
	deny map[string]bool
}

func (g guard) Authenticate(c *identity.Connect) (*identity.Principal, error) {
	switch c.Username {
	case "refused":
		return nil, identity.ErrBadCredentials
	case "throttled":
		return nil, identity.ErrThrottled
	case "short-lived":
		return &identity.Principal{User: c.Username, Expires: time.Now().Add(300 * time.Millisecond)}, nil
	case "panic":
		panic("a guard that panics")
	}
	return &identity.Principal{User: c.Username}, nil
}

func (g guard) Allow(_ *identity.Principal, _ identity.Action, topic string) bool {
	return !g.deny[topic]
}

// instant accepts everything at once, in order, from a goroutine of its own.
type instant struct{ ch chan *message.Batch }

func newInstant(t testing.TB) *instant {
	a := &instant{ch: make(chan *message.Batch, 64)}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case b := <-a.ch:
				b.Done(b, nil)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
	return a
}

func (a *instant) Accept(b *message.Batch) { a.ch <- b }

// durable is an Acceptor over a store that routes to sessions only.
type durable struct{ s *store.Store }

func (d durable) Accept(b *message.Batch) {
	r := &store.Request{Records: b.Records}
	for i := range b.Messages {
		m := &b.Messages[i]
		r.Items = append(r.Items, store.Item{Data: message.Append(nil, m), Accepted: m.Accepted, Targets: m.Sessions})
	}
	r.Done = func(_ *store.Request, errs []error) {
		for i, err := range errs {
			if errors.Is(err, store.ErrQuota) {
				errs[i] = fmt.Errorf("%w: %w", broker.ErrQuota, err)
			}
		}
		if len(b.Messages) == 0 {
			errs = nil
		}
		b.Done(b, errs)
	}
	d.s.Append(r)
}

type queues struct{ s *store.Store }

func (q queues) Queue(name string) (broker.Queue, error) { return q.s.Queue(name) }
func (q queues) Drop(name string) error                  { return q.s.Drop(name) }
func (q queues) Queues() []string                        { return q.s.Queues() }

// server is a broker that runs until the test ends or stop is called.
type server struct {
	*broker.Broker
	addr string
	stop func()
}

func deps(t testing.TB) broker.Deps {
	return broker.Deps{Acceptor: newInstant(t), Guard: guard{}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func start(t testing.TB, cfg broker.Config, d broker.Deps) *server {
	t.Helper()
	if len(cfg.Listeners) == 0 {
		cfg.Listeners = []broker.Listener{{Name: "tcp", Address: "127.0.0.1:0"}}
	}
	b, err := broker.New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	s := &server{Broker: b, addr: b.Addr(cfg.Listeners[0].Name).String()}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// simple is a broker in memory with default limits.
func simple(t testing.TB) *server { return start(t, broker.Config{}, deps(t)) }

func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Dir: dir, SettleDelay: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// onStore is a broker over a real store in dir; its stop closes both.
func onStore(t testing.TB, dir string, cfg broker.Config) (*server, *store.Store) {
	t.Helper()
	st := openStore(t, dir)
	d := deps(t)
	d.Acceptor, d.Queues, d.Records = durable{st}, queues{st}, st
	s := start(t, cfg, d)
	quit := s.stop
	s.stop = sync.OnceFunc(func() {
		quit()
		if err := st.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s, st
}

// join connects a client.
func (s *server) join(t testing.TB, version byte, o mt.Connect) *mt.Client {
	t.Helper()
	c := mt.Dial(t, s.addr, mt.Version(version))
	c.Connect(o)
	return c
}

// until polls a condition that other goroutines make true.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		<-tick.C
	}
}

func bothVersions(t *testing.T, f func(t *testing.T, v byte)) {
	for _, v := range []byte{mt.V311, mt.V5} {
		t.Run(map[byte]string{mt.V311: "3.1.1", mt.V5: "5.0"}[v], func(t *testing.T) { f(t, v) })
	}
}

// forever makes a session outlive its connection in either version.
func forever(v byte, id string) mt.Connect {
	c := mt.Connect{ClientID: id, Keep: true}
	if v == mt.V5 {
		c.Props = []mt.Prop{mt.Num(mt.SessionExpiry, 3600)}
	}
	return c
}
