package broker_test

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/message"
)

// Each test here holds the broker to one fault measured in mochi v2.7.9.

func TestSmallReceiveMaximumDoesNotStall(t *testing.T) {
	s := simple(t)
	sub := s.join(t, mt.V5, mt.Connect{ClientID: "sub", Props: []mt.Prop{mt.Num(mt.ReceiveMaximum, 5)}})
	sub.Subscribe("t", 2)
	pub := s.join(t, mt.V5, mt.Connect{ClientID: "pub"})
	for i := range 200 {
		pub.Publish(mt.Publish{Topic: "t", Payload: fmt.Sprint(i), QoS: byte(1 + i%2)})
	}
	flight := []mt.Packet{}
	for i := range 200 {
		p := sub.Expect(mt.PUBLISH)
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, p)
		}
		if flight = append(flight, p); len(flight) < 5 {
			continue
		}
		for _, p := range flight {
			sub.Ack(ackOf(p.QoS), p.ID)
			if p.QoS == 2 {
				sub.Expect(mt.PUBREL)
				sub.Ack(mt.PUBCOMP, p.ID)
			}
			break // one at a time from now on
		}
		flight = flight[1:]
	}
}

func TestReceiveMaximumIsKept(t *testing.T) {
	s := simple(t)
	sub := s.join(t, mt.V5, mt.Connect{ClientID: "sub", Props: []mt.Prop{mt.Num(mt.ReceiveMaximum, 3)}})
	sub.Subscribe("t", 2)
	pub := s.join(t, mt.V5, mt.Connect{ClientID: "pub"})
	for i := range 10 {
		pub.Publish(mt.Publish{Topic: "t", Payload: fmt.Sprint(i), QoS: 2})
	}
	first := sub.Expect(mt.PUBLISH)
	sub.Expect(mt.PUBLISH)
	sub.Expect(mt.PUBLISH)
	sub.Ack(mt.PUBREC, first.ID)
	sub.Expect(mt.PUBREL)
	sub.ExpectNothing(50 * time.Millisecond) // PUBREC gives no room, PUBCOMP does
	sub.Ack(mt.PUBCOMP, first.ID)
	sub.Expect(mt.PUBLISH)
	sub.ExpectNothing(50 * time.Millisecond)
}

func TestPacketIDsOfBothDirectionsAreApart(t *testing.T) {
	s, _ := onStore(t, t.TempDir(), broker.Config{})
	for qos := byte(1); qos <= 2; qos++ {
		id := fmt.Sprint("both", qos)
		c := s.join(t, mt.V5, forever(mt.V5, id))
		c.Subscribe(id+"/in", 2)
		s.join(t, mt.V5, mt.Connect{ClientID: "pub"}).Publish(mt.Publish{Topic: id + "/in", Payload: "kept", QoS: qos})
		p := c.Expect(mt.PUBLISH)
		c.Publish(mt.Publish{Topic: id + "/out", QoS: qos, ID: p.ID}) // the same id, the other way
		c.Close()
		c = s.join(t, mt.V5, forever(mt.V5, id))
		if again := c.Receive(); string(again.Payload) != "kept" || again.ID != p.ID || !again.Dup {
			t.Errorf("QoS %d: delivered %s, then %s", qos, p, again)
		}
	}
}

func TestStuckSubscriberFreezesNobody(t *testing.T) {
	s := simple(t)
	stuck := s.join(t, mt.V311, mt.Connect{ClientID: "stuck"})
	if err := stuck.Conn().(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	healthy := s.join(t, mt.V311, mt.Connect{ClientID: "healthy"})
	stuck.Subscribe("t", 1)
	healthy.Subscribe("t", 0)
	pub := s.join(t, mt.V311, mt.Connect{ClientID: "pub"})
	body := string(make([]byte, 1024))
	const n = 20_000
	arrived := make(chan error, 1)
	go func() {
		for range n {
			if _, err := healthy.Read(); err != nil {
				arrived <- err
				return
			}
		}
		arrived <- nil
	}()
	got, err := pub.Pipeline(n, 100, func(int) mt.Publish { return mt.Publish{Topic: "t", Payload: body} }, nil)
	if err != nil || got != n {
		t.Fatalf("%d of %d acknowledged: %v", got, n, err)
	}
	if err := <-arrived; err != nil {
		t.Errorf("the healthy subscriber: %v", err)
	}
	if s.Stats().Dropped.Load() == 0 {
		t.Error("what the stuck subscriber missed was not counted")
	}
}

func TestOrderAfterReconnect(t *testing.T) {
	run := func(t *testing.T, s *server) {
		bothVersions(t, func(t *testing.T, v byte) {
			id := fmt.Sprint("sub", v)
			sub := s.join(t, v, forever(v, id))
			sub.Subscribe(id, 1)
			pub := s.join(t, v, mt.Connect{ClientID: "pub"})
			publish := func(from, n int) {
				if _, err := pub.Pipeline(n, 200, func(i int) mt.Publish {
					return mt.Publish{Topic: id, Payload: fmt.Sprint(from + i)}
				}, nil); err != nil {
					t.Fatal(err)
				}
			}
			publish(0, 700)
			ids := map[string]uint16{}
			for range 700 {
				p := sub.Expect(mt.PUBLISH)
				ids[string(p.Payload)] = p.ID
			}
			for i := 0; i < 100; i += 2 { // every other one of the first hundred
				sub.Ack(mt.PUBACK, ids[fmt.Sprint(i)])
			}
			sub.Ping()
			sub.Close()
			publish(700, 3000)
			sub = s.join(t, v, forever(v, id))
			for i := 1; i < 3700; i++ {
				if i < 100 && i%2 == 0 {
					continue
				}
				p := sub.Receive()
				if string(p.Payload) != fmt.Sprint(i) {
					t.Fatalf("got %s, want message %d", p, i)
				}
				if i < 700 && (p.ID != ids[fmt.Sprint(i)] || !p.Dup) {
					t.Fatalf("message %d had id %d and came again as %s", i, ids[fmt.Sprint(i)], p)
				}
			}
			sub.Ping()
			sub.ExpectNothing(20 * time.Millisecond)
		})
	}
	t.Run("memory", func(t *testing.T) { run(t, simple(t)) })
	t.Run("store", func(t *testing.T) { s, _ := onStore(t, t.TempDir(), broker.Config{}); run(t, s) })
}

func TestOfflineQueueBeyond65535(t *testing.T) {
	s, st := onStore(t, t.TempDir(), broker.Config{})
	sub := s.join(t, mt.V311, forever(mt.V311, "sub"))
	sub.Subscribe("t", 1)
	sub.Disconnect()
	const n = 110_000
	pub := s.join(t, mt.V311, mt.Connect{ClientID: "pub"})
	if _, err := pub.Pipeline(n, 1000, func(i int) mt.Publish { return mt.Publish{Topic: "t", Payload: fmt.Sprint(i)} }, nil); err != nil {
		t.Fatal(err)
	}
	q, err := st.Queue("session/sub")
	if err != nil {
		t.Fatal(err)
	}
	if got := q.Waiting(1); got != n {
		t.Fatalf("%d messages wait on disk, want %d", got, n)
	}
	sub = mt.Dial(t, s.addr)
	if p := sub.Connect(forever(mt.V311, "sub")); !p.SessionPresent {
		t.Error("the session is gone")
	}
	acks := make([]byte, 0, 4096)
	for i := range n {
		p := sub.Expect(mt.PUBLISH)
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, p)
		}
		if acks = append(acks, mt.Ack(mt.V311, mt.PUBACK, p.ID, 0)...); len(acks) > 1000 || i == n-1 {
			sub.Send(acks...)
			acks = acks[:0]
		}
	}
	sub.Ping()
	for _, a := range q.Ledger() {
		if !a.Balanced() {
			t.Errorf("ledger %+v", a)
		}
	}
}

func TestSubscriptionsChangeUnderLoad(t *testing.T) {
	s := simple(t)
	sub := s.join(t, mt.V5, mt.Connect{ClientID: "sub"})
	sub.Subscribe("t/#", 1)
	var wg sync.WaitGroup
	for i := range 4 {
		pub := s.join(t, mt.V5, mt.Connect{ClientID: fmt.Sprint("pub", i)})
		churn := s.join(t, mt.V5, mt.Connect{ClientID: fmt.Sprint("churn", i)})
		wg.Go(func() {
			if _, err := pub.Pipeline(1000, 50, func(n int) mt.Publish { return mt.Publish{Topic: fmt.Sprint("t/", i), Payload: fmt.Sprint(n)} }, nil); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for n := range 100 {
				filter := mt.Field(fmt.Sprint("t/", n%3, "/+"))
				id := []byte{0, 1, 0}
				if err := churn.Write(slices.Concat(mt.Bytes(0x82, id, filter, []byte{1}), mt.Bytes(0xa2, id, filter))); err != nil {
					t.Error(err)
				}
				for range 2 {
					if _, err := churn.Read(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	last := map[string]int{}
	for range 4000 {
		p := sub.Receive()
		if want := fmt.Sprint(last[p.Topic]); string(p.Payload) != want {
			t.Fatalf("got %s, want %s", p, want)
		}
		last[p.Topic]++
	}
	wg.Wait()
}

func TestAliasIsJudgedByItsTopic(t *testing.T) {
	d := deps(t)
	d.Guard = guard{deny: map[string]bool{"secret": true}}
	s := start(t, broker.Config{}, d)
	sub := s.join(t, mt.V5, mt.Connect{ClientID: "sub"})
	sub.Subscribe("#", 1)
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	alias := []mt.Prop{mt.Num(mt.TopicAlias, 1)}
	for _, topic := range []string{"secret", ""} {
		if p := c.Publish(mt.Publish{Topic: topic, QoS: 1, Props: alias}); p.Code != 0x87 {
			t.Errorf("topic %q: %s, want 0x87", topic, p)
		}
	}
	for _, topic := range []string{"open", ""} {
		if p := c.Publish(mt.Publish{Topic: topic, QoS: 1, Props: alias}); p.Code != 0 {
			t.Errorf("topic %q: %s", topic, p)
		}
		if p := sub.Receive(); p.Topic != "open" {
			t.Errorf("delivered %s", p)
		}
	}
}

func TestServersOwnTopics(t *testing.T) {
	s := simple(t)
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	c.Subscribe("$SYS/#", 1)
	for qos := byte(1); qos <= 2; qos++ {
		if p := c.Publish(mt.Publish{Topic: "$SYS/x", QoS: qos}); p.Code != 0x90 {
			t.Errorf("QoS %d: %s, want 0x90", qos, p)
		}
	}
	c.Ping()
	c.ExpectNothing(20 * time.Millisecond) // nor are there figures nobody keeps
	old := s.join(t, mt.V311, mt.Connect{ClientID: "old"})
	old.Send(mt.Publish{Topic: "$SYS/x", QoS: 1, ID: 1}.Bytes(mt.V311)...)
	if got := old.ExpectClosed(); len(got) > 0 {
		t.Errorf("3.1.1 got %v", got)
	}
}

func TestWillIsHeldToTheAccessRules(t *testing.T) {
	d := deps(t)
	d.Guard = guard{deny: map[string]bool{"secret": true}}
	s := start(t, broker.Config{}, d)
	for v, want := range map[byte]byte{mt.V311: 5, mt.V5: 0x87} {
		c := mt.Dial(t, s.addr, mt.Version(v))
		if p := c.TryConnect(mt.Connect{ClientID: "c", Will: &mt.Publish{Topic: "secret", Payload: "w"}}); p.Code != want {
			t.Errorf("version %d: %s, want %#x", v, p, want)
		}
		c.ExpectClosed()
	}
	c := mt.Dial(t, s.addr, mt.Version(mt.V5))
	if p := c.TryConnect(mt.Connect{ClientID: "c", Will: &mt.Publish{Topic: "$SYS/x", Payload: "w"}}); p.Code != 0x90 {
		t.Errorf("will on $SYS: %s", p)
	}
}

func TestRetainedMessagesStayLongerThanADay(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir)
	old := &message.Message{Kind: message.Plain, Topic: "old", QoS: 1, Retain: true, Body: []byte("kept"), Accepted: time.Now().Add(-48 * time.Hour).UnixMilli()}
	done := make(chan error, 1)
	st.Put(func(err error) { done <- err }, message.Record{Bucket: "mqtt-retained", Key: "old", Value: message.Append(nil, old)})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ := onStore(t, dir, broker.Config{})
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	timer := time.NewTimer(1500 * time.Millisecond) // mochi looks for expired ones every second
	<-timer.C
	c.Subscribe("old", 1)
	p := c.Receive()
	if _, has := p.Prop(mt.MessageExpiry); has || string(p.Payload) != "kept" || !p.Retain {
		t.Errorf("got %s", p)
	}
}

func TestRetainedAndSessionsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s, _ := onStore(t, dir, broker.Config{})
	c := s.join(t, mt.V5, forever(mt.V5, "c"))
	c.Subscribe("a/+/#", 1, mt.Num(mt.SubscriptionID, 77))
	c.Publish(mt.Publish{Topic: "r", Payload: "kept", QoS: 1, Retain: true, Props: []mt.Prop{mt.User("k", "v")}})
	c.Publish(mt.Publish{Topic: "gone", Payload: "x", QoS: 1, Retain: true})
	c.Publish(mt.Publish{Topic: "gone", QoS: 1, Retain: true})
	s.stop()
	s, _ = onStore(t, dir, broker.Config{})
	pub := s.join(t, mt.V5, mt.Connect{ClientID: "pub"})
	pub.Publish(mt.Publish{Topic: "a/b", Payload: "while away", QoS: 1})
	c = mt.Dial(t, s.addr, mt.Version(mt.V5))
	if p := c.Connect(forever(mt.V5, "c")); !p.SessionPresent {
		t.Error("the session is gone")
	}
	p := c.Receive()
	if id, _ := p.Prop(mt.SubscriptionID); string(p.Payload) != "while away" || id.Num != 77 {
		t.Errorf("got %s", p)
	}
	c.Subscribe("#", 1)
	p = c.Receive()
	if v, _ := p.Prop(mt.UserProperty); p.Topic != "r" || !p.Retain || v.Text != "v" {
		t.Errorf("got %s", p)
	}
	c.Ping()
	c.ExpectNothing(20 * time.Millisecond)
}
