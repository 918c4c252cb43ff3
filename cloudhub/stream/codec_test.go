package stream

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/iothub"
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
		got, err := Decode(msg.Header, msg.Data)
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

// genLarge draws a message as large as the broker takes: 256 KiB by Size, in
// packets of 320 KiB, with bytes that must be escaped.
func genLarge(t *rapid.T) message.Message {
	m := genMessage(t)
	m.Kind, m.Module, m.Origin = message.Plain, "", message.Origin{}
	left := iothub.MaxMessage - m.Size()
	fill := func(label string, limit int) string {
		n := min(left, rapid.SampledFrom([]int{0, 10, 4096, 4097, 20_000, 59_000, 65_535}).Draw(t, label), limit)
		left -= n
		return strings.Repeat(rapid.SampledFrom([]string{"\n", "x", "%", "\xff"}).Draw(t, label+" of"), n)
	}
	m.Topic = fill("topic", 65_535-len(m.Topic))
	for i := range rapid.IntRange(0, 6).Draw(t, "large properties") {
		ps := &m.Properties
		if i == 0 {
			ps = &m.System
		}
		*ps = append(*ps, message.Property{Name: fill("large name", 65_535), Value: fill("large value", 65_535)})
	}
	if rapid.Bool().Draw(t, "many properties") {
		for range min(10_000, left) {
			left--
			m.Properties = append(m.Properties, message.Property{Name: "\n"})
		}
	}
	m.Body = []byte(fill("body", left))
	return m
}

// sameMessage is cmp.Diff for messages of ten thousand properties.
func sameMessage(a, b *message.Message) bool {
	return bytes.Equal(message.Append(nil, a), message.Append(nil, b))
}

// Whatever the broker accepts is stored, also under NATS's default limits, and
// comes back equal.
func TestEveryMessageTheBrokerTakesIsStored(t *testing.T) {
	srv, err := StartServer(ServerConfig{Dir: t.TempDir(), Token: "t", Relaxed: true, MaxPayload: 1 << 20}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	nc, err := Connect("", srv.InProcess()...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Open(ctx, nc, Config{})
	if err != nil {
		t.Fatal(err)
	}
	spilled := 0
	rapid.Check(t, func(t *rapid.T) {
		want := genLarge(t)
		msg, err := s.Encode(&want)
		if err != nil {
			t.Fatal(err)
		}
		if Spilled(msg.Header) {
			spilled++
		}
		ack, err := s.JetStream().PublishMsg(ctx, msg)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := s.s.GetMsg(ctx, ack.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(stored.Header, stored.Data)
		if err != nil {
			t.Fatal(err)
		}
		if !sameMessage(&want, &got) {
			diff := cmp.Diff(want, got, cmpopts.EquateEmpty())
			t.Fatal(diff[:min(len(diff), 2000)])
		}
	})
	if spilled == 0 {
		t.Error("no message was large enough")
	}
}

func TestHeadersOfAbsurdOriginsAreRefused(t *testing.T) {
	m := message.Message{Device: "d", Origin: message.Origin{Epoch: strings.Repeat("x", MaxHeader), Seq: 1}}
	if _, err := Encode(DefaultPrefix, &m); !errors.Is(err, ErrTooLarge) {
		t.Errorf("err = %v", err)
	}
}

func TestSpilledHeadersNeedTheirBody(t *testing.T) {
	m := message.Message{Kind: message.Plain, Topic: "t", Properties: []message.Property{{Name: "p", Value: strings.Repeat("x", MaxHeader)}}}
	msg, err := Encode(DefaultPrefix, &m)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 1, 100, len(msg.Data) - 1} {
		if _, err := Decode(msg.Header, msg.Data[:cut]); !errors.Is(err, ErrHeader) {
			t.Errorf("%d bytes of payload: %v", cut, err)
		}
	}
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add("plain", "d", "1970-01-01T00:00:01.000Z", "e/x/1", "a=1&b&c=%2B", "", "body")
	f.Add("plain", "d", "1970-01-01T00:00:01.000Z", "e/x/1", "a=1&b&c=%2B", "4", "bodyPenstock-Topic: t\r\nPenstock-System: a=b\r\n")
	f.Add("", "%", "yesterday", "a/b", "%4", "99999999999", "")
	f.Fuzz(func(t *testing.T, kind, device, accepted, origin, bag, n, payload string) {
		h := nats.Header{HeaderKind: {kind}, HeaderDevice: {device}, HeaderAccepted: {accepted}, HeaderOrigin: {origin}, HeaderProperties: {bag}, HeaderBody: {n}}
		m, err := Decode(h, []byte(payload))
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
		again, err := Decode(msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
