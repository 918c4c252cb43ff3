package conformance

import (
	"time"

	mt "github.com/penstock-io/penstock/internal/mqtttest"
)

// What both suites test.

func basic(x *test) {
	x.clean("a").Disconnect()
	a := x.clean("a")
	a.Subscribe(x.topic(topicA), 2)
	for qos := byte(0); qos < 3; qos++ {
		x.publish(a, topicA, "qos", qos)
	}
	x.allQoS(x.exactly(a, 3))
	a.Disconnect()

	a = x.clean("a")
	a.Send(mt.Connect{ClientID: x.prefix + "a"}.Bytes(x.v)...) // a second CONNECT
	a.ExpectRefused()

	other := x.dial()
	other.Send(mt.Bytes(0x10, mt.Field("hj"), []byte{x.v, 2, 0, 0, 0}, mt.Field("a"))...)
	other.ExpectRefused()
}

func retainAll(x *test, c *mt.Client, payload string, props ...mt.Prop) {
	x.Helper()
	for qos, topic := range []string{topicAB, topicC, topicAC} {
		x.retain(c, topic, payload, byte(qos), props...)
	}
}

func retainedMessages(x *test) {
	var props []mt.Prop
	if x.v == mt.V5 {
		props = []mt.Prop{mt.User("a", "2"), mt.User("c", "3")}
	}
	a := x.clean("a")
	retainAll(x, a, "kept", props...)
	a.Subscribe(x.topic(twoUp), 2)
	got := x.exactly(a, 3)
	x.allQoS(got)
	for _, p := range got {
		user := p.All(mt.UserProperty)
		if !p.Retain || len(user) != len(props) || len(user) > 0 && (user[0] != props[0] || user[1] != props[1]) {
			x.Errorf("got %s", p)
		}
	}
	a.Disconnect()

	a = x.clean("a")
	retainAll(x, a, "") // takes them away
	a.Subscribe(x.topic(twoUp), 2)
	x.exactly(a, 0)
}

func offlineMessageQueueing(x *test) {
	a := x.kept("a")
	a.Subscribe(x.topic(twoUp), 2)
	a.Disconnect()
	b := x.clean("b")
	for qos, topic := range []string{topicAB, topicC, topicAC} {
		x.publish(b, topic, "while away", byte(qos))
	}
	o := mt.Connect{Keep: true}
	if x.v == mt.V5 {
		o.Props = []mt.Prop{mt.Num(mt.SessionExpiry, 99_999)}
	}
	a, ack := x.connect("a", o)
	if !ack.SessionPresent {
		x.Errorf("got %s", ack)
	}
	for i, p := range x.exactly(a, 2) { // QoS 0 need not be kept, and is not
		if p.QoS != byte(i+1) {
			x.Errorf("got %s", p)
		}
	}
}

func overlappingSubscriptions(x *test) {
	a := x.clean("a")
	a.Subscribe(x.topic(allOfA), 2)
	a.Subscribe(x.topic(plusOfA), 1)
	x.publish(a, topicAC, "overlapping topic filters", 2)
	if p := x.exactly(a, 1)[0]; p.QoS != 2 {
		x.Errorf("one copy for all subscriptions has their highest QoS, got %s", p)
	}
}

func keepAlive(x *test) {
	b := x.clean("b")
	b.Subscribe(x.topic(slashA), 2)
	x.connect("a", mt.Connect{KeepAlive: 1, Will: &mt.Publish{Topic: x.topic(slashA), Payload: "keepalive expiry"}})
	started := time.Now()
	p := b.Receive()
	if took := time.Since(started); string(p.Payload) != "keepalive expiry" || took < time.Second {
		x.Errorf("got %s after %v", p, took)
	}
	x.exactly(b, 0)
}

func redeliveryOnReconnect(x *test) {
	b := x.kept("b")
	b.Subscribe(x.topic(allOfA), 2)
	x.publish(b, topicAB, "1", 1)
	x.publish(b, topicAC, "2", 2)
	b.Expect(mt.PUBLISH) // and no acknowledgement
	b.Expect(mt.PUBLISH)
	b.Disconnect()
	b = x.kept("b")
	if got := payloads(x.exactly(b, 2)); got != "1, 2" {
		x.Errorf("delivered again: %s", got)
	}
}

func subscribeFailure(x *test) {
	if p := x.clean("a").TrySubscribe(noSubscribe, 2); len(p.Codes) != 1 || p.Codes[0] != 0x80 {
		x.Errorf("got %s, want 0x80", p)
	}
}

func dollarTopics(x *test) {
	alone := *x
	alone.addr = hub(x.T) // its filters see everything
	b, a := alone.clean("b"), alone.clean("a")
	b.Subscribe("+/+", 2)
	b.Subscribe("#", 2)
	c := alone.clean("c")
	c.Subscribe("$"+topicAB, 2)
	if p := a.Publish(mt.Publish{Topic: "$" + topicAB, QoS: 1}); p.Code >= 0x80 {
		x.Errorf("got %s", p)
	}
	x.exactly(c, 1) // who asks for it by name gets it
	x.exactly(b, 0)
}

func unsubscribe(x *test) {
	b := x.clean("b")
	for _, topic := range []string{topicA, topicAB, topicC} {
		b.Subscribe(x.topic(topic), 2)
	}
	b.Unsubscribe(x.topic(topicA))
	a := x.clean("a")
	for _, topic := range []string{topicA, topicAB, topicC} {
		x.publish(a, topic, topic, 1)
	}
	if got := payloads(x.exactly(b, 2)); got != topicAB+", "+topicC {
		x.Errorf("got %s", got)
	}
}
