package leaf_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/faultproxy"
	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/message"
)

const patience = 20 * time.Second

var key = identity.Secret(base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")))

// inbox is an Acceptor that keeps the bodies in order. While it is held, batches
// are kept and not acknowledged.
type inbox struct {
	mu     sync.Mutex
	held   bool
	kept   []*message.Batch
	bodies []string
	topics []string
	came   chan struct{}
}

func newInbox() *inbox { return &inbox{came: make(chan struct{}, 1)} }

func (i *inbox) Accept(b *message.Batch) {
	i.mu.Lock()
	for k := range b.Messages {
		m := &b.Messages[k]
		i.bodies = append(i.bodies, string(m.Body))
		i.topics = append(i.topics, m.Topic)
	}
	if i.held {
		i.kept = append(i.kept, b)
		b = nil
	}
	i.mu.Unlock()
	if b != nil {
		go b.Done(b, nil)
	}
	select {
	case i.came <- struct{}{}:
	default:
	}
}

// hold stops acknowledging; release fails what was held, as a hub that goes down does.
func (i *inbox) hold() { i.mu.Lock(); defer i.mu.Unlock(); i.held = true }

func (i *inbox) release() {
	i.mu.Lock()
	kept := i.kept
	i.held, i.kept = false, nil
	i.mu.Unlock()
	for _, b := range kept {
		errs := make([]error, len(b.Messages))
		for k := range errs {
			errs[k] = errors.New("going down")
		}
		b.Done(b, errs)
	}
}

func (i *inbox) got() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.bodies)
}

// until waits for a state of the inbox.
func (i *inbox) until(t *testing.T, what string, f func(bodies []string) bool) {
	t.Helper()
	late := time.After(patience)
	for !f(i.got()) {
		select {
		case <-i.came:
		case <-late:
			t.Fatalf("no %s in %v: %d messages came", what, patience, len(i.got()))
		}
	}
}

// hub is a broker with a device "d" that has a module "m", and anonymous clients
// that may use everything below open/.
func hub(t *testing.T, in *inbox) *broker.Broker {
	t.Helper()
	dir, err := identity.NewStatic([]identity.Device{{ID: "d", Key: key, Modules: []identity.Module{{ID: "m", Key: key}}}})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := identity.NewGuard(dir, identity.Config{
		Hosts: []string{"penstock"}, Anonymous: []string{"tcp"},
		Rules: []identity.Rule{{Group: identity.GroupAnonymous, Allow: []string{"publish", "subscribe"}, Topics: []string{"open/#"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Config{Listeners: []broker.Listener{{Name: "tcp", Address: "127.0.0.1:0"}}},
		broker.Deps{Acceptor: in, Guard: guard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b
}

func open(t *testing.T, o leaf.Options) *leaf.Client {
	t.Helper()
	c, err := leaf.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func plain(topic, body string, qos byte) *message.Message {
	return &message.Message{Kind: message.Plain, Topic: topic, QoS: qos, Body: []byte(body)}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]leaf.Options{
		"no host":      {Address: "mqtt://"},
		"other scheme": {Address: "http://localhost:1883"},
		"bad key":      {Address: "localhost", Device: "d", Key: "not base64!"},
		"no device":    {Address: "localhost", Module: "m"},
	} {
		if _, err := leaf.New(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestConnectTellsAtOnce(t *testing.T) {
	b := hub(t, newInbox())
	addr := b.Addr("tcp").String()
	wrong := identity.Secret(base64.StdEncoding.EncodeToString([]byte("another key, of the same length.")))
	c, err := leaf.New(leaf.Options{Address: addr, Device: "d", Key: wrong})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Connect(limited(t)); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("a wrong key: %v, want an error that names %s", err, addr)
	}

	p, err := faultproxy.New(addr)
	if err != nil {
		t.Fatal(err)
	}
	p.Close() // a port where nobody listens
	gone, err := leaf.New(leaf.Options{Address: p.Addr(), ClientID: "x", Clean: true})
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if err := gone.Connect(limited(t)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("no listener: %v, want connection refused", err)
	}
}

func TestConnectGivesUpWithItsContext(t *testing.T) {
	b := hub(t, newInbox())
	p, err := faultproxy.New(b.Addr("tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Freeze()
	c, err := leaf.New(leaf.Options{Address: p.Addr(), ClientID: "x", Clean: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connect to a frozen hub: %v", err)
	}
	p.Thaw()
	if err := c.Connect(limited(t)); err != nil {
		t.Errorf("second attempt: %v", err)
	}
}

func TestPublish(t *testing.T) {
	in := newInbox()
	addr := hub(t, in).Addr("tcp").String()
	m := open(t, leaf.Options{Address: addr, Device: "d", Module: "m", Key: key})
	if err := m.Publish(&message.Message{QoS: 1, Device: "d", Module: "m", Output: "o", Body: []byte("1")}).Wait(limited(t)); err != nil {
		t.Error(err)
	}
	p := open(t, leaf.Options{Address: "mqtt://" + addr, ClientID: "p", Clean: true})
	for qos := range byte(3) {
		if err := p.Publish(plain("open/x", fmt.Sprint("q", qos), qos)).Wait(limited(t)); err != nil {
			t.Errorf("QoS %d: %v", qos, err)
		}
	}
	in.until(t, "four messages", func(b []string) bool { return slices.Equal(b, []string{"1", "q0", "q1", "q2"}) })
	if err := m.Publish(plain("open/x", "", 2)).Wait(t.Context()); !errors.Is(err, leaf.ErrQoS) {
		t.Errorf("QoS 2 in a session that stays: %v", err)
	}
}

// TestReconnect cuts the line again and again while messages flow, at times when
// the hub has them and has not acknowledged.
func TestReconnect(t *testing.T) {
	in := newInbox()
	b := hub(t, in)
	p, err := faultproxy.New(b.Addr("tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := open(t, leaf.Options{Address: p.Addr(), Device: "d", Key: key, OnState: func(up bool, err error) {
		if !up && err == nil {
			t.Error("lost, and no reason given")
		}
	}})
	var sent []*leaf.Sent
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			sent = append(sent, c.Publish(&message.Message{QoS: 1, Body: fmt.Appendf(nil, "%05d", i)}))
		}
	}
	for round := range 3 {
		in.hold()
		seen := len(in.got())
		publish(round*1000, round*1000+500)
		in.until(t, "message of this round", func(b []string) bool { return len(b) > seen })
		p.Cut()
		publish(round*1000+500, round*1000+1000)
		in.release()
	}
	for i, s := range sent {
		if err := s.Wait(limited(t)); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if n := p.Accepted(); n < 4 {
		t.Errorf("%d connections for three cuts", n)
	}
	checkOrder(t, in.got(), 3000)
}

// checkOrder wants all messages, each for the first time after all before it.
func checkOrder(t *testing.T, bodies []string, n int) {
	t.Helper()
	next := 0
	for _, b := range bodies {
		switch want := fmt.Sprintf("%05d", next); {
		case b == want:
			next++
		case b > want:
			t.Fatalf("message %s came before %s", b, want)
		}
	}
	if next != n {
		t.Errorf("%d messages came, want %d", next, n)
	}
}

// TestSentIsNotDoneBeforeTheHubSaysSo: sending again is no acknowledgement.
func TestSentIsNotDoneBeforeTheHubSaysSo(t *testing.T) {
	in := newInbox()
	b := hub(t, in)
	p, err := faultproxy.New(b.Addr("tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := open(t, leaf.Options{Address: p.Addr(), Device: "d", Key: key})
	in.hold()
	s := c.Publish(&message.Message{QoS: 1, Body: []byte("x")})
	in.until(t, "first delivery", func(b []string) bool { return len(b) == 1 })
	p.Cut()
	in.until(t, "second delivery", func(b []string) bool { return len(b) == 2 })
	select {
	case <-s.Done():
		t.Error("done, and the hub has not acknowledged")
	default:
	}
	c.Close()
	if err := s.Wait(t.Context()); !errors.Is(err, leaf.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	in.release()
}

func TestCloseDoesNotHang(t *testing.T) {
	b := hub(t, newInbox())
	p, err := faultproxy.New(b.Addr("tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := open(t, leaf.Options{Address: p.Addr(), ClientID: "x", Clean: true})
	p.Freeze()
	big := make([]byte, 64<<10)
	var last *leaf.Sent
	for range 400 { // more than the sockets' buffers hold
		last = c.Publish(&message.Message{Kind: message.Plain, Topic: "open/x", QoS: 1, Body: big})
	}
	closed := make(chan struct{})
	go func() { c.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close waits for a hub that does not read")
	}
	if err := last.Wait(t.Context()); !errors.Is(err, leaf.ErrClosed) {
		t.Errorf("what was not acknowledged: %v", err)
	}
	if err := c.Publish(plain("open/x", "", 1)).Wait(t.Context()); !errors.Is(err, leaf.ErrClosed) {
		t.Errorf("publish after Close: %v", err)
	}
	c.Close() // twice is once
}

func TestBacklogIsBounded(t *testing.T) {
	c, err := leaf.New(leaf.Options{Address: "127.0.0.1:1", ClientID: "x", Clean: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := 0; ; n++ {
		s := c.Publish(&message.Message{Kind: message.Plain, Topic: "open/x", QoS: 1, Body: make([]byte, 1<<20)})
		select {
		case <-s.Done():
			if err := s.Wait(t.Context()); !errors.Is(err, leaf.ErrBacklog) || n != 64 {
				t.Errorf("message %d: %v", n, err)
			}
			return
		default:
		}
	}
}

func TestSubscribe(t *testing.T) {
	addr := hub(t, newInbox()).Addr("tcp").String()
	p, err := faultproxy.New(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	up := make(chan bool, 8)
	c := open(t, leaf.Options{Address: p.Addr(), ClientID: "s", Clean: true, OnState: func(ok bool, _ error) { up <- ok }})
	got := make(chan string, 8)
	f := func(topic string, body []byte, _ bool) { got <- topic + " " + string(body) }
	if err := c.Subscribe(limited(t), "secret/#", 1, f); !errors.Is(err, leaf.ErrRefused) {
		t.Errorf("a filter the guard refuses: %v", err)
	}
	if err := c.Subscribe(limited(t), "open/+", 1, f); err != nil {
		t.Fatal(err)
	}
	// What a client publishes reaches itself, before and after a broken line.
	publish := func(body string) {
		t.Helper()
		if err := c.Publish(plain("open/a", body, 1)).Wait(limited(t)); err != nil {
			t.Fatal(err)
		}
		select {
		case g := <-got:
			if g != "open/a "+body {
				t.Errorf("got %q", g)
			}
		case <-time.After(patience):
			t.Fatalf("%q does not arrive", body)
		}
	}
	publish("1")
	<-up
	p.Cut()
	if <-up {
		t.Fatal("the cut was not noticed")
	}
	publish("2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Subscribe(ctx, "open/b", 1, f); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
