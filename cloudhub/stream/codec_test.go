package stream

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
)

func TestSubject(t *testing.T) {
	long := strings.Repeat("abcdefgh/", 200)
	for _, c := range []struct {
		m    message.Message
		want string
	}{
		{message.Message{Device: "press-7"}, "hub.messages.press-7"},
		{message.Message{Device: "press-7", Module: "sensor", Output: "temperature"}, "hub.messages.press-7.sensor.temperature"},
		{message.Message{Device: "a.b*c>d $%é", Module: "$edgeHub"}, "hub.messages.a%2Eb%2Ac%3Ed%20%24%25%C3%A9.%24edgeHub"},
		{message.Message{Kind: message.Plain, Device: "d", Module: "m", Topic: "sensors//kitchen/"}, "hub.messages.d.$topic.sensors.%00.kitchen.%00"},
		{message.Message{Kind: message.Plain, Topic: "t"}, "hub.messages.%00.$topic.t"},
		{message.Message{Kind: message.TwinChange, Device: "d", Module: "m"}, "hub.messages.d.m.$twin"},
		{message.Message{Kind: message.Plain, Device: "d", Topic: long}, "hub.messages.d.$topic" + strings.Repeat(".abcdefgh", 110) + ".$more"},
	} {
		if got := Subject(DefaultPrefix, &c.m); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func FuzzSubject(f *testing.F) {
	f.Add("d", "m", "o", "a/b", uint8(0))
	f.Add("", ".*>", "\x00\r\n", "///", uint8(1))
	f.Fuzz(func(t *testing.T, device, module, output, topic string, kind uint8) {
		m := message.Message{Kind: message.Kind(kind % 3), Device: device, Module: module, Output: output, Topic: topic}
		s := Subject(DefaultPrefix, &m)
		if len(s) > MaxSubject || !strings.HasPrefix(s, DefaultPrefix+".") {
			t.Fatalf("subject %q", s)
		}
		for token := range strings.SplitSeq(s, ".") {
			if token == "" || strings.ContainsAny(token, " \t\r\n*>") {
				t.Fatalf("token %q of %q", token, s)
			}
		}
	})
}

func genMessage(t *rapid.T) message.Message {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[&=+%/ \r\n.]{0,6}`))
	props := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) message.Property {
		p := message.Property{Name: text.Draw(t, "name"), Null: rapid.Bool().Draw(t, "null")}
		if !p.Null {
			p.Value = text.Draw(t, "value")
		}
		return p
	}), 0, 4)
	ms := rapid.Int64Range(0, 4_000_000_000_000)
	m := message.Message{
		Kind: message.Kind(rapid.IntRange(0, 2).Draw(t, "kind")), Device: text.Draw(t, "device"), Module: text.Draw(t, "module"),
		Output: text.Draw(t, "output"), Topic: text.Draw(t, "topic"), Accepted: ms.Draw(t, "accepted"), Expires: ms.Draw(t, "expires"),
		System: props.Draw(t, "system"), Properties: props.Draw(t, "properties"),
	}
	if rapid.Bool().Draw(t, "has origin") {
		m.Origin = message.Origin{Device: text.Draw(t, "edge"), Epoch: text.Draw(t, "epoch"), Seq: rapid.Uint64Min(1).Draw(t, "seq"), Floor: rapid.Uint64().Draw(t, "floor")}
	}
	return m
}

func TestHeadersKeepEveryField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genMessage(t)
		msg, err := Encode(DefaultPrefix, &want)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		for name, values := range msg.Header {
			for _, v := range values {
				if strings.ContainsFunc(v, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
					t.Fatalf("%s: unsafe value %q", name, v)
				}
			}
		}
		got, err := Decode(msg.Header, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(want.System) == 0 {
			want.System = nil
		}
		if len(want.Properties) == 0 {
			want.Properties = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestHeadersBeyondTheLimitAreRefused(t *testing.T) {
	m := message.Message{Device: "d", Properties: []message.Property{{Name: "p", Value: strings.Repeat("x", MaxHeader)}}}
	if _, err := Encode(DefaultPrefix, &m); !errors.Is(err, ErrTooLarge) {
		t.Errorf("err = %v", err)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add("plain", "d", "1970-01-01T00:00:01.000Z", "e/x/1", "a=1&b&c=%2B")
	f.Add("", "%", "yesterday", "a/b", "%4")
	f.Fuzz(func(t *testing.T, kind, device, accepted, origin, bag string) {
		h := nats.Header{HeaderKind: {kind}, HeaderDevice: {device}, HeaderAccepted: {accepted}, HeaderOrigin: {origin}, HeaderProperties: {bag}}
		m, err := Decode(h, nil)
		if err != nil {
			if !errors.Is(err, ErrHeader) {
				t.Fatalf("err = %v", err)
			}
			return
		}
		msg, err := Encode(DefaultPrefix, &m)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(msg.Header, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
