package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/message"
)

func deliver(s *server, client, filter, body string) <-chan error {
	done := make(chan error, 1)
	s.Deliver(client, "modules/m/in", []string{filter}, &message.Message{Body: []byte(body)}, func(err error) { done <- err })
	return done
}

func wantError(t *testing.T, what string, done <-chan error, want error) {
	t.Helper()
	select {
	case err := <-done:
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("%s: no answer", what)
	}
}

func TestDeliverAnswersWhenTheClientHas(t *testing.T) {
	s := simple(t)
	wantError(t, "nobody there", deliver(s, "c", "f", "x"), broker.ErrNoSubscriber)
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c", Props: []mt.Prop{mt.Num(mt.MaximumPacketSize, 100), mt.Num(mt.ReceiveMaximum, 2)}})
	wantError(t, "no subscription", deliver(s, "c", "f", "x"), broker.ErrNoSubscriber)
	c.Subscribe("f", 1)
	done := deliver(s, "c", "f", "x")
	p := c.Expect(mt.PUBLISH)
	if p.Topic != "modules/m/in" || p.QoS != 1 {
		t.Errorf("got %s", p)
	}
	select {
	case err := <-done:
		t.Errorf("answered with %v before the client had", err)
	case <-time.After(20 * time.Millisecond):
	}
	c.Ack(mt.PUBACK, p.ID)
	wantError(t, "acknowledged", done, nil)
	done = deliver(s, "c", "f", "x")
	c.Send(mt.Ack(mt.V5, mt.PUBACK, c.Expect(mt.PUBLISH).ID, 0x83)...)
	wantError(t, "refused by the client", done, broker.ErrRefused)
	wantError(t, "too large", deliver(s, "c", "f", string(make([]byte, 200))), broker.ErrTooLarge)
	flight := []<-chan error{deliver(s, "c", "f", "1"), deliver(s, "c", "f", "2"), deliver(s, "c", "f", "3")}
	c.Expect(mt.PUBLISH)
	c.Expect(mt.PUBLISH)
	c.ExpectNothing(20 * time.Millisecond) // the window holds for these, too
	c.Close()
	for _, done := range flight {
		wantError(t, "disconnected", done, broker.ErrDisconnected)
	}
}

func TestDeliverAtQoS0(t *testing.T) {
	s := simple(t)
	c := s.join(t, mt.V311, mt.Connect{ClientID: "c"})
	c.Subscribe("f", 0)
	done := deliver(s, "c", "f", "x")
	if p := c.Expect(mt.PUBLISH); p.QoS != 0 {
		t.Errorf("got %s", p)
	}
	wantError(t, "written", done, nil)
}

// everything receives until the broker has no more for the client. A PINGRESP may
// overtake messages in its own write; two in a row without one between them show
// that there is no more.
func everything(t *testing.T, c *mt.Client) (got []mt.Packet) {
	t.Helper()
	for quiet := 0; quiet < 2 || len(got) == 0; quiet++ {
		c.Send(mt.PINGREQ<<4, 0)
		for {
			p, err := c.Read()
			if err != nil {
				t.Fatal(err)
			}
			if p.Type == mt.PINGRESP {
				break
			}
			if p.Type != mt.PUBLISH {
				continue
			}
			quiet, got = -1, append(got, p)
			if p.QoS > 0 {
				c.Ack(ackOf(p.QoS), p.ID)
			}
		}
	}
	return got
}

func TestNoLocalAmongOthers(t *testing.T) {
	s := simple(t)
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	c.Subscribe("a/b", 1|4)
	c.Publish(mt.Publish{Topic: "a/b", QoS: 1})
	c.Ping()
	c.ExpectNothing(20 * time.Millisecond)
	c.Subscribe("a/+", 1) // this one asks for the client's own messages
	c.Publish(mt.Publish{Topic: "a/b", QoS: 1})
	c.Receive()
}

func TestSharedSubscriptionOfAllKinds(t *testing.T) {
	s, _ := onStore(t, t.TempDir(), broker.Config{})
	members := []*mt.Client{
		s.join(t, mt.V5, forever(mt.V5, "durable1")), s.join(t, mt.V5, forever(mt.V5, "durable2")),
		s.join(t, mt.V5, mt.Connect{ClientID: "clean"}),
	}
	for _, c := range members {
		c.Subscribe("$share/g/t/#", 2)
	}
	pub := s.join(t, mt.V5, mt.Connect{ClientID: "pub"})
	const n = 90
	for i := range n {
		pub.Publish(mt.Publish{Topic: "t/x", Payload: fmt.Sprint(i), QoS: byte(i / 3 % 3)})
	}
	seen := map[string]int{}
	for _, c := range members {
		for _, p := range everything(t, c) {
			seen[string(p.Payload)]++
		}
	}
	for body, times := range seen {
		if times != 1 {
			t.Errorf("message %s arrived %d times", body, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d different messages of %d arrived", len(seen), n)
	}
	// Without a connected member a persistent one waits for them.
	for _, c := range members {
		c.Disconnect()
	}
	for i := range 10 {
		pub.Publish(mt.Publish{Topic: "t/x", Payload: fmt.Sprint(i), QoS: 1})
	}
	got := 0
	for _, id := range []string{"durable1", "durable2"} {
		got += len(everything(t, s.join(t, mt.V5, forever(mt.V5, id))))
	}
	if got != 10 {
		t.Errorf("%d of 10 waited", got)
	}
}

func TestNewSessionDoesNotGetTheOldOnesMessages(t *testing.T) {
	s, st := onStore(t, t.TempDir(), broker.Config{})
	c := s.join(t, mt.V5, forever(mt.V5, "c"))
	c.Subscribe("t", 1)
	c.Disconnect()
	pub := s.join(t, mt.V5, mt.Connect{ClientID: "pub"})
	pub.Publish(mt.Publish{Topic: "t", QoS: 1})
	fresh := forever(mt.V5, "c")
	fresh.Keep = false
	c = mt.Dial(t, s.addr, mt.Version(mt.V5))
	if p := c.Connect(fresh); p.SessionPresent {
		t.Errorf("got %s", p)
	}
	pub.Publish(mt.Publish{Topic: "t", QoS: 1})
	c.Ping()
	c.ExpectNothing(50 * time.Millisecond)
	for _, a := range st.Ledger() {
		if !a.Balanced() {
			t.Errorf("ledger %+v", a)
		}
	}
}

func TestRequestProblemInformationAndReasons(t *testing.T) {
	s := simple(t)
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c", Props: []mt.Prop{mt.Num(mt.RequestProblem, 0)}})
	// Only CONNACK and DISCONNECT may carry reasons (MQTT-3.1.2-29).
	if p := c.Publish(mt.Publish{Topic: "$SYS/x", QoS: 1, Props: []mt.Prop{mt.User("a", "b")}}); len(p.Props) > 0 {
		t.Errorf("got %s", p)
	}
	if p := c.TrySubscribe("t", 1, mt.User("a", "b")); len(p.Props) > 0 {
		t.Errorf("got %s", p)
	}
	c.Send(mt.Bytes(0xc0, []byte{1})...)
	got := c.ExpectClosed()
	if len(got) != 1 || len(got[0].Props) != 1 || got[0].Props[0].ID != mt.ReasonString {
		t.Errorf("got %v, want a DISCONNECT that says why", got)
	}
	small := s.join(t, mt.V5, mt.Connect{ClientID: "small", Props: []mt.Prop{mt.Num(mt.MaximumPacketSize, 20)}})
	small.Send(mt.Bytes(0xc0, []byte{1})...)
	if got := small.ExpectClosed(); len(got) != 1 || len(got[0].Props) != 0 || got[0].Code != 0x81 {
		t.Errorf("got %v, want a DISCONNECT that fits", got)
	}
}
