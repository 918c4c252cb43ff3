package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/iothub"
)

// TestLimits: what the dialect does not allow is refused to its sender's face:
// MQTT 5 hears a reason, 3.1.1 loses the connection, and nothing is acknowledged
// and dropped.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{noCloud: true, rules: "rules:\n  - {name: up, from: devices/*, into: $upstream}\n  - {name: plain, topic: '#', into: $upstream}\n"})
	const events = "devices/" + leafDevice + "/messages/events/"
	const (
		notAuthorized = 0x87
		badTopic      = 0x90
		tooLarge      = 0x95
		malformed     = 0x81
	)
	for name, c := range map[string]struct {
		topic string
		size  int
		codes []byte
	}{
		"another device":        {"devices/press-8/messages/events/", 2, []byte{notAuthorized}},
		"another's module":      {"devices/" + edgeDevice + "/modules/filter/messages/events/", 2, []byte{notAuthorized}},
		"unknown topic":         {"devices/" + leafDevice + "/messages/nonsense/", 2, []byte{notAuthorized, badTopic}},
		"plain without a grant": {"secret/plans", 2, []byte{notAuthorized}},
		"property without name": {events + "=x", 2, []byte{badTopic}},
		"escape not UTF-8":      {events + "a=%ff", 2, []byte{badTopic}},
		"wildcard":              {"sensors/+/temp", 2, []byte{badTopic, malformed}},
		"too large a message":   {events, iothub.MaxMessage + 1, []byte{tooLarge}},
		"too large a packet":    {events, 400 << 10, []byte{tooLarge}},
	} {
		for _, version := range []byte{mqtttest.V311, mqtttest.V5} {
			client := s.raw(version, leafDevice, "")
			packet := mqtttest.Publish{Topic: c.topic, QoS: 1, ID: 7, Payload: strings.Repeat("x", c.size)}.Bytes(version)
			_ = client.Write(packet) // the hub may hang up before it has read all of it
			if err := refusal(client, c.codes); err != nil {
				t.Errorf("%s, version %d: %v", name, version, err)
			}
			client.Close()
		}
	}
	st, err := s.edgeAPI.Status(t.Context())
	if err != nil || st.Broker.Refused+st.Broker.Malformed < 18 {
		t.Errorf("status counts %d refused and %d malformed of 18: %v", st.Broker.Refused, st.Broker.Malformed, err)
	}
	if l := s.ledger(); l.Total.Accepted != 0 {
		t.Errorf("something was accepted: %+v", l)
	}
	fits := s.raw(mqtttest.V5, leafDevice, "")
	if ack := fits.Publish(mqtttest.Publish{Topic: events, QoS: 1, Payload: strings.Repeat("x", iothub.MaxMessage)}); ack.Code != 0 {
		t.Errorf("the largest message: %s", ack)
	}
}

// refusal reads the answer to a PUBLISH that must be refused.
// TestLargestMessages: what the device accepts the cloud accepts, although hubs
// add properties of their own on the way.
func TestLargestMessages(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{rules: "rules:\n  - {name: up, from: devices/*, into: $upstream}\n  - {name: plain, topic: sensors/#, into: $upstream}\n"})
	c := s.raw(mqtttest.V5, leafDevice, "")
	const events = "devices/" + leafDevice + "/messages/events/"
	for i, m := range []mqtttest.Publish{
		{Topic: events, QoS: 1, Payload: strings.Repeat("x", iothub.MaxMessage)},
		{Topic: events + "a=" + strings.Repeat("%20", 15_000), QoS: 1, Payload: strings.Repeat("x", iothub.MaxMessage-15_001)},
		{Topic: events, QoS: 1, Payload: strings.Repeat("x", 1000), Props: []mqtttest.Prop{mqtttest.Text(mqtttest.CorrelationData, strings.Repeat("\xff", 20_000))}},
	} {
		if ack := c.Publish(m); ack.Code != 0 {
			t.Fatalf("message %d: %s", i, ack)
		}
	}
	publish(t, s.leaf(leafDevice, ""), telemetry("last", "1"))
	s.drained()
	if n := len(s.received()); n != 4 {
		t.Errorf("%d messages in the cloud, want 4", n)
	}
}

func refusal(c *mqtttest.Client, codes []byte) error {
	p, err := c.Read()
	if c.Version() == mqtttest.V311 {
		if err == nil {
			return fmt.Errorf("got %s, want the end of the connection", p)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("got no reason: %w", err)
	}
	if p.Type != mqtttest.PUBACK && p.Type != mqtttest.DISCONNECT || !slices.Contains(codes, p.Code) {
		return fmt.Errorf("got %s, want one of the codes % x", p, codes)
	}
	return nil
}
