package conformance

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	mt "github.com/penstock-io/penstock/internal/mqtttest"
)

func TestMQTT5(t *testing.T) {
	runSuite(t, mt.V5, []named{
		{"test_basic", basic},
		{"test_retained_message", retainedMessages},
		{"test_will_message", willMessage},
		{"test_zero_length_clientid", zeroLengthClientID},
		{"test_offline_message_queueing", offlineMessageQueueing},
		{"test_overlapping_subscriptions", overlappingSubscriptions},
		{"test_keepalive", keepAlive},
		{"test_redelivery_on_reconnect", redeliveryOnReconnect},
		{"test_subscribe_failure", subscribeFailure},
		{"test_dollar_topics", dollarTopics},
		{"test_unsubscribe", unsubscribe},
		{"test_session_expiry", sessionExpiry},
		{"test_shared_subscriptions", sharedSubscriptions},
		{"test_user_properties", userProperties},
		{"test_payload_format", payloadFormat},
		{"test_publication_expiry", publicationExpiry},
		{"test_subscribe_options", subscribeOptions},
		{"test_assigned_clientid", assignedClientID},
		{"test_subscribe_identifiers", subscribeIdentifiers},
		{"test_request_response", requestResponse},
		{"test_client_topic_alias", clientTopicAlias},
		{"test_server_topic_alias", serverTopicAlias},
		{"test_maximum_packet_size", maximumPacketSize},
		{"test_server_keep_alive", serverKeepAlive},
		{"test_flow_control1", flowControl1},
		{"test_flow_control2", flowControl2},
		{"test_will_delay", willDelay},
	}, 27)
}

// Options of a subscription.
const (
	noLocal           = 4
	retainAsPublished = 8
	retainIfNew       = 16
	retainNever       = 32
)

func willMessage(x *test) {
	a, _ := x.connect("a", mt.Connect{KeepAlive: 2, Will: &mt.Publish{Topic: x.topic(topicC), Payload: "client not disconnected"}})
	b := x.kept("b")
	b.Subscribe(x.topic(topicC), 2)
	a.Close()
	if got := payloads(x.exactly(b, 1)); got != "client not disconnected" {
		x.Errorf("got %s", got)
	}
}

func zeroLengthClientID(x *test) {
	for _, keep := range []bool{true, false} { // 5.0 assigns an id to either
		c := x.dial()
		p := c.Connect(mt.Connect{Keep: keep})
		if id, ok := p.Prop(mt.AssignedClientID); !ok || id.Text == "" {
			x.Errorf("keep %v: %s", keep, p)
		}
		c.Disconnect()
	}
}

func assignedClientID(x *test) { zeroLengthClientID(x) }

func sessionExpiry(x *test) {
	connect := func(clean bool, expiry uint32, present bool) *mt.Client {
		x.Helper()
		c, p := x.connect("a", mt.Connect{Keep: !clean, Props: []mt.Prop{mt.Num(mt.SessionExpiry, expiry)}})
		if p.SessionPresent != present {
			x.Errorf("expiry %d: session present %v, want %v", expiry, p.SessionPresent, present)
		}
		return c
	}
	leave := func(c *mt.Client, expiry uint32) {
		c.Send(mt.Bytes(0xe0, []byte{0}, mt.Section(mt.Num(mt.SessionExpiry, expiry)))...)
		c.ExpectClosed()
	}
	a := connect(true, 0, false)
	a.Subscribe(x.topic(topicA), 2)
	a.Disconnect()
	connect(false, 0, false).Disconnect() // ended with its connection

	a = connect(true, 2, false)
	a.Subscribe(x.topic(topicA), 2)
	a.Disconnect()
	interval(time.Second)
	connect(false, 2, true).Disconnect()
	interval(2500 * time.Millisecond)
	connect(false, 2, false).Disconnect()

	a = connect(true, 1, false)
	a.Subscribe(x.topic(topicA), 2)
	leave(a, 5)
	interval(1500 * time.Millisecond)
	leave(connect(false, 1, true), 0)
	connect(false, 1, false).Disconnect()
}

func sharedSubscriptions(x *test) {
	a, b := x.clean("a"), x.clean("b")
	for _, c := range []*mt.Client{a, b} {
		c.Subscribe("$share/sharename/"+x.topic("x"), 2)
		c.Subscribe(x.topic(topicA), 2)
	}
	x.publish(b, topicA, "both", 0)
	x.exactly(a, 1)
	x.exactly(b, 1)
	const n = 10
	for i := range n {
		x.publish(b, "x", fmt.Sprint(i), byte(i%3))
	}
	seen := map[string]int{}
	for _, c := range []*mt.Client{a, b} {
		for p := range drain(x, c) {
			seen[p]++
		}
	}
	for i := range n {
		if times := seen[fmt.Sprint(i)]; times != 1 {
			x.Errorf("message %d arrived %d times", i, times)
		}
	}
}

// drain yields what waits for the client now. A PINGRESP may overtake messages in
// its own write, so two in a row without one between them show that there is no more.
func drain(x *test, c *mt.Client) iter.Seq[string] {
	return func(yield func(string) bool) {
		for quiet := 0; quiet < 2; quiet++ {
			c.Send(mt.PINGREQ<<4, 0)
			for {
				p, err := c.Read()
				if err != nil {
					x.Fatal(err)
				}
				if p.Type == mt.PINGRESP {
					break
				}
				if p.Type == mt.PUBLISH {
					quiet = -1
					if !yield(string(p.Payload)) {
						return
					}
				}
			}
		}
	}
}

// echo publishes with QoS 0, 1 and 2 to itself and returns what comes back.
func echo(x *test, props ...mt.Prop) []mt.Packet {
	x.Helper()
	a := x.clean("a")
	a.Subscribe(x.topic(topicA), 2)
	for qos := byte(0); qos < 3; qos++ {
		x.publish(a, topicA, "", qos, props...)
	}
	got := x.exactly(a, 3)
	x.allQoS(got)
	return got
}

func userProperties(x *test) {
	want := []mt.Prop{mt.User("a", "2"), mt.User("c", "3")}
	for _, p := range echo(x, want...) {
		if !slices.Equal(p.All(mt.UserProperty), want) {
			x.Errorf("got %s", p)
		}
	}
}

func payloadFormat(x *test) {
	for _, p := range echo(x, mt.Num(mt.PayloadFormat, 1), mt.Text(mt.ContentType, "My name")) {
		format, _ := p.Prop(mt.PayloadFormat)
		kind, _ := p.Prop(mt.ContentType)
		if format.Num != 1 || kind.Text != "My name" {
			x.Errorf("got %s", p)
		}
	}
}

func publicationExpiry(x *test) {
	b := x.kept("b")
	b.Subscribe(x.topic(topicA), 2)
	b.Disconnect()
	a := x.clean("a")
	for qos := byte(1); qos < 3; qos++ {
		x.publish(a, topicA, "expires", qos, mt.Num(mt.MessageExpiry, 1))
		x.publish(a, topicA, "stays", qos, mt.Num(mt.MessageExpiry, 6))
	}
	interval(1500 * time.Millisecond)
	for _, p := range x.exactly(x.kept("b"), 2) {
		if left, ok := p.Prop(mt.MessageExpiry); string(p.Payload) != "stays" || !ok || left.Num >= 6 || left.Num < 1 {
			x.Errorf("got %s", p)
		}
	}
}

func subscribeOptions(x *test) {
	a, b := x.clean("a"), x.clean("b")
	a.Subscribe(x.topic(topicA), 2|noLocal)
	b.Subscribe(x.topic(topicA), 2|noLocal)
	x.publish(a, topicA, "noLocal test", 1)
	x.exactly(a, 0)
	x.exactly(b, 1)

	a = x.clean("c")
	a.Subscribe(x.topic("rap"), 2|retainAsPublished)
	x.publish(a, "rap", "retain as published false", 1)
	x.retain(a, "rap", "retain as published true", 1)
	got := x.exactly(a, 2)
	if got[0].Retain || !got[1].Retain {
		x.Errorf("got %v", got)
	}
	x.retain(a, "rap", "", 1)

	for _, h := range []struct {
		option        byte
		first, second int
	}{{retainIfNew, 3, 0}, {retainNever, 0, 0}, {0, 3, 3}} {
		a = x.clean("a")
		retainAll(x, a, "kept")
		for _, n := range []int{h.first, h.second} {
			a.Subscribe(x.topic(twoUp), 2|h.option)
			if got := x.exactly(a, n); n > 0 {
				x.allQoS(got)
			}
		}
		a.Disconnect()
	}
}

func subscribeIdentifiers(x *test) {
	a, b := x.clean("a"), x.clean("b")
	a.Subscribe(x.topic(topicA), 2, mt.Num(mt.SubscriptionID, 456_789))
	b.Subscribe(x.topic(topicA), 2, mt.Num(mt.SubscriptionID, 2))
	b.Subscribe(x.topic(topicA)+"/#", 2, mt.Num(mt.SubscriptionID, 3))
	x.publish(b, topicA, "sub identifier test", 1)
	if got := x.exactly(a, 1)[0].All(mt.SubscriptionID); len(got) != 1 || got[0].Num != 456_789 {
		x.Errorf("got %v", got)
	}
	if got := x.exactly(b, 1)[0].All(mt.SubscriptionID); len(got) != 2 || got[0].Num+got[1].Num != 5 {
		x.Errorf("one copy names both subscriptions, got %v", got)
	}
}

func requestResponse(x *test) {
	a, b := x.clean("a"), x.clean("b")
	a.Subscribe(x.topic(topicA), 2|noLocal)
	b.Subscribe(x.topic(topicA), 2|noLocal)
	x.publish(a, topicA, "request", 1, mt.Text(mt.ResponseTopic, x.topic(topicA)), mt.Text(mt.CorrelationData, "334"))
	request := x.exactly(b, 1)[0]
	to, _ := request.Prop(mt.ResponseTopic)
	ref, _ := request.Prop(mt.CorrelationData)
	if to.Text != x.topic(topicA) || ref.Text != "334" {
		x.Errorf("got %s", request)
	}
	x.send(b, mt.Publish{Topic: to.Text, Payload: "response", QoS: 1, Props: []mt.Prop{ref}})
	answer := x.exactly(a, 1)[0]
	if ref, _ := answer.Prop(mt.CorrelationData); string(answer.Payload) != "response" || ref.Text != "334" {
		x.Errorf("got %s", answer)
	}
}

func clientTopicAlias(x *test) {
	a := x.clean("a")
	a.Send(mt.Publish{Topic: x.topic(topicA), QoS: 1, ID: 1, Props: []mt.Prop{mt.Num(mt.TopicAlias, 0)}}.Bytes(x.v)...)
	if code := a.ExpectRefused(); code != 0x94 {
		x.Errorf("alias 0: %#x", code)
	}
	a, ack := x.connect("a", mt.Connect{Props: []mt.Prop{mt.Num(mt.TopicAliasMaximum, 0), mt.Num(mt.SessionExpiry, 99_999)}})
	if most, ok := ack.Prop(mt.TopicAliasMaximum); !ok || most.Num == 0 {
		x.Fatalf("the server announces no aliases: %s", ack)
	}
	a.Subscribe(x.topic(topicA), 2)
	alias := mt.Num(mt.TopicAlias, 1)
	x.publish(a, topicA, "topic alias 1", 1, alias)
	x.send(a, mt.Publish{Payload: "topic alias 2", QoS: 1, Props: []mt.Prop{alias}})
	if got := payloads(x.exactly(a, 2)); got != "topic alias 1, topic alias 2" {
		x.Errorf("got %s", got)
	}
	a.Disconnect()
	a = x.kept("a") // the subscription is there, the alias is not
	x.publish(a, topicA, "topic alias 3", 1)
	x.exactly(a, 1)
	a.Send(mt.Publish{Payload: "topic alias 4", QoS: 1, ID: 9, Props: []mt.Prop{alias}}.Bytes(x.v)...)
	if code := a.ExpectRefused(); code < 0x80 {
		x.Errorf("unknown alias: %#x", code)
	}
}

func serverTopicAlias(x *test) {
	for _, most := range []uint32{1, 0} {
		a := x.clean("a", mt.Num(mt.TopicAliasMaximum, most))
		a.Subscribe(x.topic(topicA), 2)
		for qos := byte(0); qos < 3; qos++ {
			x.publish(a, topicA, "topic alias", qos)
		}
		for i, p := range x.exactly(a, 3) {
			alias, has := p.Prop(mt.TopicAlias)
			switch {
			case most == 0 && (has || p.Topic == ""), most == 1 && alias.Num != 1, most == 1 && (p.Topic == "") != (i > 0):
				x.Errorf("maximum %d, message %d: %s", most, i, p)
			}
		}
		a.Disconnect()
	}
}

func maximumPacketSize(x *test) {
	a, ack := x.connect("a", mt.Connect{})
	most, ok := ack.Prop(mt.MaximumPacketSize)
	if !ok {
		x.Fatalf("the server announces no limit: %s", ack)
	}
	if err := a.Write(mt.Publish{Topic: x.topic(topicA), Payload: strings.Repeat(".", int(most.Num))}.Bytes(x.v)); err != nil {
		x.Fatal(err)
	}
	if code := a.ExpectRefused(); code != 0x95 {
		x.Errorf("too large: %#x", code)
	}
	a = x.clean("a", mt.Num(mt.MaximumPacketSize, 64))
	a.Subscribe(x.topic("s"), 2)
	x.publish(a, "s", strings.Repeat(".", 24), 0)
	x.publish(a, "s", strings.Repeat(".", 64), 1) // is not sent on
	x.exactly(a, 1)
}

func serverKeepAlive(x *test) {
	_, ack := x.connect("a", mt.Connect{KeepAlive: 120})
	if p, ok := ack.Prop(mt.ServerKeepAlive); !ok || p.Num != 60 {
		x.Errorf("got %s", ack)
	}
}

func flowControl1(x *test) {
	a := x.clean("a", mt.Num(mt.ReceiveMaximum, 2), mt.Num(mt.SessionExpiry, 0))
	a.Subscribe(x.topic(topicA), 2)
	for i := range 3 {
		x.publish(a, topicA, fmt.Sprint("message ", i), 1)
	}
	first, second := a.Expect(mt.PUBLISH), a.Expect(mt.PUBLISH)
	a.ExpectNothing(200 * time.Millisecond)
	a.Ack(mt.PUBACK, first.ID)
	third := a.Expect(mt.PUBLISH)
	if got := payloads([]mt.Packet{first, second, third}); got != "message 0, message 1, message 2" {
		x.Errorf("got %s", got)
	}
	a.Ack(mt.PUBACK, second.ID)
	a.Ack(mt.PUBACK, third.ID)
	a.Disconnect()
}

func flowControl2(x *test) {
	a, ack := x.connect("a", mt.Connect{})
	most, ok := ack.Prop(mt.ReceiveMaximum)
	if !ok {
		x.Fatalf("the server announces no receive maximum: %s", ack)
	}
	var all []byte
	for i := range most.Num + 1 { // and no PUBREL
		all = append(all, mt.Publish{Topic: x.topic(topicA), QoS: 2, ID: uint16(i + 1)}.Bytes(x.v)...)
	}
	a.Send(all...)
	for _, p := range a.ExpectClosed() {
		if p.Type == mt.DISCONNECT && p.Code == 0x93 {
			return
		}
	}
	x.Error("no DISCONNECT 0x93 came before the end")
}

func willDelay(x *test) {
	for i, d := range []struct {
		delay, expiry uint32
		after         time.Duration
	}{
		{1, 3, time.Second}, // the delay ends first
		{5, 0, 0},           // the session ends with the connection
		{5, 1, time.Second}, // the session ends first
	} {
		topic := fmt.Sprint("will/", i)
		a, _ := x.connect("a", mt.Connect{
			Props: []mt.Prop{mt.Num(mt.SessionExpiry, d.expiry)}, WillProps: []mt.Prop{mt.Num(mt.WillDelay, d.delay)},
			Will: &mt.Publish{Topic: x.topic(topic), Payload: "will"},
		})
		b := x.clean("b")
		b.Subscribe(x.topic(topic), 2)
		started := time.Now()
		a.Close()
		x.exactly(b, 1)
		if took := time.Since(started); took < d.after || took > d.after+1500*time.Millisecond {
			x.Errorf("delay %d, session expiry %d: the will came after %v", d.delay, d.expiry, took)
		}
		b.Disconnect()
	}
}
