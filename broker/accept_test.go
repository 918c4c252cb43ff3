package broker_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// scripted is an Acceptor whose commits the test decides on.
type scripted struct{ batches chan *message.Batch }

func newScripted() *scripted { return &scripted{batches: make(chan *message.Batch, 4096)} }

func (a *scripted) Accept(b *message.Batch) { a.batches <- b }

// next waits for a batch that carries messages.
func (a *scripted) next(t *testing.T) *message.Batch {
	t.Helper()
	select {
	case b := <-a.batches:
		return b
	case <-time.After(5 * time.Second):
		t.Fatal("no batch came")
		return nil
	}
}

// take collects batches until they hold n messages.
func (a *scripted) take(t *testing.T, n int) (all []*message.Batch) {
	t.Helper()
	for n > 0 {
		b := a.next(t)
		n -= len(b.Messages)
		all = append(all, b)
	}
	return all
}

func finish(b *message.Batch, err error) {
	if err == nil {
		b.Done(b, nil)
		return
	}
	errs := make([]error, len(b.Messages))
	for i := range errs {
		errs[i] = err
	}
	b.Done(b, errs)
}

func withScript(t *testing.T, cfg broker.Config) (*server, *scripted) {
	a := newScripted()
	d := deps(t)
	d.Acceptor = a
	return start(t, cfg, d), a
}

func ackOf(qos byte) byte { return map[byte]byte{1: mt.PUBACK, 2: mt.PUBREC}[qos] }

func TestAcknowledgementWaitsForTheCommit(t *testing.T) {
	bothVersions(t, func(t *testing.T, v byte) {
		s, a := withScript(t, broker.Config{})
		for qos := byte(1); qos <= 2; qos++ {
			c := s.join(t, v, mt.Connect{ClientID: "c"})
			c.Send(mt.Publish{Topic: "t", QoS: qos, ID: 7}.Bytes(v)...)
			b := a.next(t)
			c.Send(mt.PINGREQ<<4, 0) // the connection reads on
			c.Expect(mt.PINGRESP)
			c.ExpectNothing(50 * time.Millisecond)
			finish(b, nil)
			if p := c.Expect(ackOf(qos)); p.ID != 7 || p.Code != 0 {
				t.Errorf("got %s", p)
			}
		}
	})
}

func TestAcknowledgementsKeepTheOrderOfTheMessages(t *testing.T) {
	s, a := withScript(t, broker.Config{})
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	var all []byte
	for i := range 60 {
		topic := "t"
		if i%7 == 3 {
			topic = "$SYS/refused" // its answer keeps its place
		}
		all = append(all, mt.Publish{Topic: topic, QoS: byte(1 + i%2), ID: uint16(i + 1)}.Bytes(mt.V5)...)
	}
	c.Send(all...)
	batches := a.take(t, 60-9)
	c.ExpectNothing(20 * time.Millisecond)
	for _, b := range batches {
		finish(b, nil)
	}
	for i := range 60 {
		p := c.Expect(ackOf(byte(1 + i%2)))
		if p.ID != uint16(i+1) || (p.Code == 0x90) != (i%7 == 3) {
			t.Fatalf("acknowledgement %d is %s", i, p)
		}
	}
}

// countingConn counts what the broker writes.
type countingConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) { c.writes.Add(1); return c.Conn.Write(p) }

func TestOneWriteForTheAcknowledgementsOfOneCommit(t *testing.T) {
	s, a := withScript(t, broker.Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan *countingConn, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		sock, err := ln.Accept()
		if err != nil {
			return
		}
		c := &countingConn{Conn: sock}
		served <- c
		s.ServeConn(c)
	}()
	c := mt.Dial(t, ln.Addr().String())
	c.Connect(mt.Connect{ClientID: "c"})
	counter := <-served
	var all []byte
	for i := range 500 {
		all = append(all, mt.Publish{Topic: "t", QoS: 1, ID: uint16(i + 1)}.Bytes(mt.V311)...)
	}
	c.Send(all...)
	batches := a.take(t, 500)
	before := counter.writes.Load()
	for _, b := range batches {
		finish(b, nil)
	}
	for range 500 {
		c.Expect(mt.PUBACK)
	}
	if n := counter.writes.Load() - before; n > int64(len(batches)) {
		t.Errorf("%d writes for the acknowledgements of %d batches", n, len(batches))
	}
	c.Disconnect()
	<-ended
}

func TestRefusedAppendIsNeverAcknowledged(t *testing.T) {
	for _, x := range []struct {
		err  error
		code byte
	}{
		{fmt.Errorf("disk: %w", broker.ErrQuota), 0x97},
		{errors.New("no sync"), 0x83},
		{broker.ErrNotAuthorized, 0x87},
	} {
		for qos := byte(1); qos <= 2; qos++ {
			s, a := withScript(t, broker.Config{})
			c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
			c.Send(mt.Publish{Topic: "t", QoS: qos, ID: 9}.Bytes(mt.V5)...)
			finish(a.next(t), x.err)
			if p := c.Expect(ackOf(qos)); p.Code != x.code || p.ID != 9 {
				t.Errorf("%v at QoS %d: %s, want code %#x", x.err, qos, p, x.code)
			}
			old := s.join(t, mt.V311, mt.Connect{ClientID: "old"})
			old.Send(mt.Publish{Topic: "t", QoS: qos, ID: 9}.Bytes(mt.V311)...)
			finish(a.next(t), x.err)
			if got := old.ExpectClosed(); len(got) > 0 {
				t.Errorf("%v at QoS %d: 3.1.1 got %v", x.err, qos, got)
			}
			c.Ping() // the neighbour is untouched
		}
	}
}

func TestPartlyRefusedBatch(t *testing.T) {
	s, a := withScript(t, broker.Config{})
	c := s.join(t, mt.V311, mt.Connect{ClientID: "c"})
	var all []byte
	for i := range 4 {
		all = append(all, mt.Publish{Topic: "t", QoS: 1, ID: uint16(i + 1)}.Bytes(mt.V311)...)
	}
	c.Send(all...)
	n := 0
	for _, b := range a.take(t, 4) {
		errs := make([]error, len(b.Messages))
		for i := range errs {
			if n++; n == 3 {
				errs[i] = errors.New("third")
			}
		}
		b.Done(b, errs)
	}
	got := c.ExpectClosed()
	if len(got) != 2 || got[0].ID != 1 || got[1].ID != 2 {
		t.Errorf("got %v, want the first two acknowledged and nothing else", got)
	}
}

func TestRefusedQoS2IsANewMessageWhenRepeated(t *testing.T) {
	s, a := withScript(t, broker.Config{})
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	c.Send(mt.Publish{Topic: "t", QoS: 2, ID: 1}.Bytes(mt.V5)...)
	first := a.next(t)
	c.Send(mt.Publish{Topic: "t", QoS: 2, ID: 1, Dup: true}.Bytes(mt.V5)...)
	repeat := a.next(t)
	if len(repeat.Messages) != 0 {
		t.Fatalf("the repetition was accepted as %d messages", len(repeat.Messages))
	}
	finish(first, broker.ErrQuota)
	repeat.Done(repeat, nil)
	if p := c.Expect(mt.PUBREC); p.Code != 0x97 {
		t.Errorf("first: %s", p)
	}
	if p := c.Expect(mt.PUBREC); p.Code < 0x80 {
		t.Errorf("the repetition of a refused message was acknowledged: %s", p)
	}
	c.Send(mt.Publish{Topic: "t", QoS: 2, ID: 1, Dup: true}.Bytes(mt.V5)...)
	again := a.next(t)
	if len(again.Messages) != 1 {
		t.Fatal("sent again after the refusal, it is a new message")
	}
	finish(again, nil)
	if p := c.Expect(mt.PUBREC); p.Code != 0 {
		t.Errorf("got %s", p)
	}
	c.Ack(mt.PUBREL, 1)
	if p := c.Expect(mt.PUBCOMP); p.Code != 0 {
		t.Errorf("got %s", p)
	}
	c.Ack(mt.PUBREL, 1)
	if p := c.Expect(mt.PUBCOMP); p.Code != 0x92 {
		t.Errorf("second PUBREL: %s, want 0x92", p)
	}
}

func TestPubrelBeforePubrecIsAnError(t *testing.T) {
	s, a := withScript(t, broker.Config{})
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	c.Send(mt.Publish{Topic: "t", QoS: 2, ID: 1}.Bytes(mt.V5)...)
	b := a.next(t)
	c.Ack(mt.PUBREL, 1)
	if code := c.ExpectRefused(); code != 0x82 {
		t.Errorf("code %#x", code)
	}
	finish(b, nil)
}

func TestRefusedRetainedMessageLeavesTheOldOne(t *testing.T) {
	s, a := withScript(t, broker.Config{})
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	for i, err := range []error{nil, broker.ErrQuota} {
		c.Send(mt.Publish{Topic: "r", Payload: fmt.Sprint(i), QoS: 1, ID: 1, Retain: true}.Bytes(mt.V5)...)
		finish(a.next(t), err)
		c.Expect(mt.PUBACK)
	}
	c.Subscribe("r", 0)
	if p := c.Receive(); string(p.Payload) != "0" {
		t.Errorf("got %s", p)
	}
}

func TestRetainedLimit(t *testing.T) {
	d := deps(t)
	s := start(t, broker.Config{MaxRetained: 2}, d)
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	old := s.join(t, mt.V311, mt.Connect{ClientID: "old"})
	for i, want := range []byte{0, 0, 0x97} {
		p := c.Publish(mt.Publish{Topic: fmt.Sprint("r/", i), Payload: "x", QoS: 1, Retain: true})
		if p.Code != want {
			t.Errorf("topic %d: %s, want code %#x", i, p, want)
		}
	}
	if p := c.Publish(mt.Publish{Topic: "r/0", Payload: "new", QoS: 1, Retain: true}); p.Code != 0 {
		t.Errorf("a topic that is there may be replaced: %s", p)
	}
	old.Send(mt.Publish{Topic: "r/9", Payload: "x", QoS: 1, Retain: true, ID: 1}.Bytes(mt.V311)...)
	if got := old.ExpectClosed(); len(got) > 0 {
		t.Errorf("3.1.1 got %v", got)
	}
	c.Publish(mt.Publish{Topic: "r/0", QoS: 1, Retain: true})
	if p := c.Publish(mt.Publish{Topic: "r/9", Payload: "x", QoS: 1, Retain: true}); p.Code != 0 {
		t.Errorf("after one was deleted there is room: %s", p)
	}
}

func TestSessionAndSubscriptionLimits(t *testing.T) {
	s := start(t, broker.Config{MaxSessions: 2, MaxSubscriptions: 2}, deps(t))
	c := s.join(t, mt.V5, forever(mt.V5, "kept"))
	c.Subscribe("a", 0)
	c.Subscribe("b", 0)
	c.Send(mt.Bytes(0x82, []byte{0, 9}, mt.Section(), mt.Field("c"), []byte{0})...)
	if code := c.ExpectRefused(); code != 0x97 {
		t.Errorf("a third subscription ended with %#x, want 0x97", code)
	}
	s.join(t, mt.V311, mt.Connect{ClientID: "second"})
	if p := mt.Dial(t, s.addr, mt.Version(mt.V5)).TryConnect(mt.Connect{ClientID: "third"}); p.Code != 0x97 {
		t.Errorf("a third session: %s, want 0x97", p)
	}
	if p := mt.Dial(t, s.addr, mt.Version(mt.V5)).TryConnect(forever(mt.V5, "kept")); p.Code != 0 {
		t.Errorf("a session that is there: %s", p)
	}
}

func TestQueueWithoutSessionIsDroppedAtStart(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir)
	done := make(chan []error, 1)
	st.Append(&store.Request{
		Items: []store.Item{{Data: message.Append(nil, &message.Message{}), Targets: []message.Target{{Queue: "session/gone", Rule: "session"}}}},
		Done:  func(_ *store.Request, errs []error) { done <- errs },
	})
	if errs := <-done; errs != nil {
		t.Fatal(errs)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	_, st = onStore(t, dir, broker.Config{})
	if names := st.Queues(); slices.Contains(names, "session/gone") {
		t.Errorf("queues: %v", names)
	}
}

func TestRefusedLoudly(t *testing.T) {
	big := strings.Repeat("x", 257<<10)
	for _, x := range []struct {
		name    string
		publish mt.Publish
		ack     byte // code of PUBACK or PUBREC; 0: the connection ends instead
		end     byte // code of DISCONNECT
	}{
		{"property without a name", mt.Publish{Topic: "devices/d/messages/events/=v"}, 0x90, 0},
		{"no device", mt.Publish{Topic: "devices//messages/events/"}, 0x90, 0},
		{"property twice", mt.Publish{Topic: "devices/d/messages/events/$.mid=1&$.mid=2"}, 0x90, 0},
		{"server's own topics", mt.Publish{Topic: "$SYS/broker"}, 0x90, 0},
		{"denied", mt.Publish{Topic: "secret"}, 0x87, 0},
		{"message too large", mt.Publish{Topic: "t", Payload: big}, 0, 0x95},
		{"telemetry too large", mt.Publish{Topic: "devices/d/messages/events/", Payload: big}, 0, 0x95},
		{"packet too large", mt.Publish{Topic: "t", Payload: big + big}, 0, 0x95},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newScripted()
			d := deps(t)
			d.Acceptor, d.Guard = a, guard{deny: map[string]bool{"secret": true}}
			s := start(t, broker.Config{}, d)
			neighbour := s.join(t, mt.V5, mt.Connect{ClientID: "neighbour"})
			for qos := byte(1); qos <= 2; qos++ {
				x.publish.QoS, x.publish.ID = qos, 3
				c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
				c.Send(x.publish.Bytes(mt.V5)...)
				if x.ack != 0 {
					for _, b := range []*message.Batch{a.next(t)} {
						finish(b, nil)
					}
					if p := c.Expect(ackOf(qos)); p.Code != x.ack {
						t.Errorf("QoS %d: %s, want %#x", qos, p, x.ack)
					}
				} else if code := c.ExpectRefused(); code != x.end {
					t.Errorf("QoS %d: code %#x, want %#x", qos, code, x.end)
				}
				old := s.join(t, mt.V311, mt.Connect{ClientID: "old"})
				if err := old.Write(x.publish.Bytes(mt.V311)); err != nil {
					t.Fatal(err)
				}
				if got := old.ExpectClosed(); len(got) > 0 {
					t.Errorf("QoS %d: 3.1.1 got %v", qos, got)
				}
			}
			for len(a.batches) > 0 {
				if b := <-a.batches; len(b.Messages) > 0 {
					t.Error("a refused message reached the Acceptor")
				}
			}
			neighbour.Ping()
		})
	}
}

func TestWillsAndInjectedMessagesMeetTheAcceptor(t *testing.T) {
	s, a := withScript(t, broker.Config{})
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c", Will: &mt.Publish{Topic: "will", Payload: "w", QoS: 1}})
	c.Close()
	b := a.next(t)
	if len(b.Messages) != 1 || b.Messages[0].Topic != "will" || string(b.Messages[0].Body) != "w" || b.Local {
		t.Errorf("the will came as %+v", b.Messages)
	}
	finish(b, nil)
	answer := make(chan error, 1)
	s.Publish(&message.Message{Kind: message.Plain, Topic: "local", QoS: 1, Body: []byte("x")}, func(err error) { answer <- err })
	b = a.next(t)
	if !b.Local || b.Messages[0].Topic != "local" {
		t.Errorf("injected message came as %+v", b)
	}
	finish(b, broker.ErrQuota)
	if err := <-answer; !errors.Is(err, broker.ErrQuota) {
		t.Errorf("answer %v", err)
	}
}
