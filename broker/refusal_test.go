package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/store"
)

// One message of a batch finds its queue full, the others are stored. What the
// refused one would have left behind must not be there after a restart.
func TestRefusedMessageLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	s, st := onStore(t, dir, broker.Config{})
	full := s.join(t, mt.V5, forever(mt.V5, "full"))
	full.Subscribe("full/#", 2)
	full.Disconnect()
	pub := s.join(t, mt.V5, forever(mt.V5, "pub"))
	pub.Publish(mt.Publish{Topic: "full/r", Payload: "before", QoS: 1, Retain: true})
	q, err := st.Queue("session/full")
	if err != nil {
		t.Fatal(err)
	}
	q.SetLimit(1, store.Reject)
	pub.Send(slices.Concat(
		mt.Publish{Topic: "ok", Payload: "1", QoS: 2, ID: 1}.Bytes(mt.V5),
		mt.Publish{Topic: "full/x", Payload: "2", QoS: 2, ID: 2}.Bytes(mt.V5),
		mt.Publish{Topic: "full/r", Payload: "after", QoS: 1, ID: 3, Retain: true}.Bytes(mt.V5),
	)...)
	for _, want := range []mt.Packet{{Type: mt.PUBREC, ID: 1}, {Type: mt.PUBREC, ID: 2, Code: 0x97}, {Type: mt.PUBACK, ID: 3, Code: 0x97}} {
		if p := pub.Expect(want.Type); p.ID != want.ID || p.Code != want.Code {
			t.Errorf("got %s, want %s", p, want)
		}
	}
	s.stop()

	s, _ = onStore(t, dir, broker.Config{})
	sub := s.join(t, mt.V5, mt.Connect{ClientID: "sub"})
	sub.Subscribe("#", 2)
	if p := sub.Receive(); string(p.Payload) != "before" || !p.Retain {
		t.Errorf("got %s, want the retained message that was acknowledged", p)
	}
	pub = s.join(t, mt.V5, forever(mt.V5, "pub"))
	pub.Send(slices.Concat(
		mt.Publish{Topic: "ok", Payload: "1", QoS: 2, ID: 1, Dup: true}.Bytes(mt.V5),
		mt.Publish{Topic: "ok", Payload: "2 again", QoS: 2, ID: 2}.Bytes(mt.V5),
	)...)
	pub.Expect(mt.PUBREC)
	pub.Expect(mt.PUBREC)
	if p := sub.Receive(); string(p.Payload) != "2 again" {
		t.Errorf("got %s; the accepted message is a repetition, the refused one is new", p)
	}
	sub.Ping()
	sub.ExpectNothing(20 * time.Millisecond)
}

// A session that ends brings its delayed will with it, whatever ends it.
func TestWillOfAnEndedSession(t *testing.T) {
	s := simple(t)
	sub := s.join(t, mt.V5, mt.Connect{ClientID: "sub"})
	sub.Subscribe("will", 1)
	gone := func() {
		o := forever(mt.V5, "c")
		o.Will, o.WillProps = &mt.Publish{Topic: "will", Payload: "w", QoS: 1}, []mt.Prop{mt.Num(mt.WillDelay, 60)}
		s.join(t, mt.V5, o).Reset()
	}
	gone()
	until(t, "the connection is over", func() bool { return s.Stats().Connections.Load() == 1 })
	back := s.join(t, mt.V5, forever(mt.V5, "c")) // in time: no will
	sub.Ping()
	sub.ExpectNothing(20 * time.Millisecond)
	back.Disconnect()

	gone()
	until(t, "the connection is over", func() bool { return s.Stats().Connections.Load() == 1 })
	s.join(t, mt.V5, mt.Connect{ClientID: "c"}) // clean start: the session ends
	if p := sub.Receive(); string(p.Payload) != "w" {
		t.Errorf("got %s", p)
	}
	// DISCONNECT 0x04 asks for the will; a plain one takes it along.
	for code, want := range map[byte]bool{0x04: true, 0x00: false} {
		c := s.join(t, mt.V5, mt.Connect{ClientID: "d", Will: &mt.Publish{Topic: "will", Payload: "x", QoS: 1}})
		c.Send(0xe0, 1, code)
		c.ExpectClosed()
		if want {
			sub.Receive()
		}
	}
	sub.Ping()
	sub.ExpectNothing(20 * time.Millisecond)
}

// Sessions in memory, as in the cloud, keep their promises while the process lives.
func TestMemorySessionResumesQoS2(t *testing.T) {
	s := simple(t)
	sub := s.join(t, mt.V5, forever(mt.V5, "sub"))
	sub.Subscribe("t", 2)
	pub := s.join(t, mt.V5, mt.Connect{ClientID: "pub"})
	for _, body := range []string{"taken", "seen", "unseen"} {
		pub.Publish(mt.Publish{Topic: "t", Payload: body, QoS: 2})
	}
	taken, seen := sub.Expect(mt.PUBLISH), sub.Expect(mt.PUBLISH)
	sub.Ack(mt.PUBREC, taken.ID)
	for sub.Expect(mt.PUBLISH).QoS != 2 {
	}
	sub.Expect(mt.PUBREL)
	sub.Close()
	sub = s.join(t, mt.V5, forever(mt.V5, "sub"))
	if p := sub.Expect(mt.PUBREL); p.ID != taken.ID {
		t.Errorf("got %s, want PUBREL %d again", p, taken.ID)
	}
	if p := sub.Expect(mt.PUBLISH); string(p.Payload) != "seen" || p.ID != seen.ID || !p.Dup {
		t.Errorf("got %s", p)
	}
	if p := sub.Expect(mt.PUBLISH); string(p.Payload) != "unseen" {
		t.Errorf("got %s", p)
	}
	sub.Ack(mt.PUBCOMP, taken.ID)
	sub.Ping()
	sub.ExpectNothing(20 * time.Millisecond)
}
