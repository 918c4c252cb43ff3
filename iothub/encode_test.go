package iothub

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
)

func TestAppendInputTopic(t *testing.T) {
	m := message.Message{
		Kind: message.Telemetry, Device: "edge-1", Module: "sensor", Output: "temperature",
		System:     []message.Property{prop(message.SysMessageID, "m 1"), prop(message.SysContentType, "application/json")},
		Properties: []message.Property{{Name: "none", Null: true}, prop("ключ", "a+b"), prop("!~*'()-_.", ""), prop("$.cdid", "forged")},
	}
	got := string(AppendInputTopic(nil, "edge-1", "filter", "in", &m))
	want := "devices/edge-1/modules/filter/inputs/in/%24.mid=m%201&%24.ct=application%2Fjson&%24.cdid=edge-1&%24.cmid=sensor" +
		"&none&%D0%BA%D0%BB%D1%8E%D1%87=a%2Bb&!~*'()-_.=&penstock-app-%24.cdid=forged"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAppendEventsTopic(t *testing.T) {
	m := message.Message{
		Kind: message.Telemetry, Device: "d#1", Module: "m", Output: "o/1",
		Properties: []message.Property{prop("a", "1"), prop("penstock-seq", "forged.1.1")},
		Origin:     message.Origin{Device: "edge", Epoch: "e7", Seq: 12, Floor: 5},
	}
	got := string(AppendEventsTopic(nil, "edge", &m, prop("x", "y z")))
	want := "devices/d%231/modules/m/messages/events/%24.on=o%2F1&a=1&penstock-app-penstock-seq=forged.1.1&penstock-seq=e7.12.5&x=y%20z"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func genText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.StringN(0, 12, 48), rapid.SampledFrom([]string{
		"", "a", "%", "%41", "100%", "&", "=", "?", "/", "a/", "+", "$.mid", "$.cdid", "$.on", "iothub-MessageType",
		"penstock-seq", "penstock-app-x", "penstock-topic", "ключ", "\U0001F600",
	}))
}

func genName() *rapid.Generator[string] {
	return genText().Filter(func(s string) bool { return s != "" })
}

func genID() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[A-Za-z0-9.+_#*?!(),:=@$'-]{1,20}`),
		rapid.SampledFrom([]string{"a%20b", "100%", "%41", "#", "+", "$edgeHub", "?"}),
	)
}

func genMessage(t *rapid.T) message.Message {
	m := message.Message{Device: genID().Draw(t, "device")}
	if rapid.Bool().Draw(t, "isModule") {
		m.Module = genID().Draw(t, "module")
		m.Output = genText().Draw(t, "output")
	}
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(wireNames), 0, len(wireNames), rapid.ID).Draw(t, "system") {
		if n.sys == message.SysExpiry {
			continue // its value has a form
		}
		m.System = append(m.System, message.Property{Name: n.sys, Value: genText().Draw(t, "value")})
	}
	for range rapid.IntRange(0, 5).Draw(t, "properties") {
		p := message.Property{Name: genName().Draw(t, "name"), Null: rapid.Bool().Draw(t, "null")}
		if !p.Null {
			p.Value = genText().Draw(t, "value")
		}
		m.Properties = append(m.Properties, p)
	}
	return m
}

// What one hub encodes for its parent, the parent decodes to the same message.
func TestForwardRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, nameless := genMessage(t), false
		switch want.Kind = rapid.SampledFrom([]message.Kind{message.Telemetry, message.Plain, message.TwinChange}).Draw(t, "kind"); want.Kind {
		case message.Plain:
			want.Topic = rapid.StringMatching(`[a-zé]{1,5}(/[a-z $%&=?]{0,5}){0,3}`).Draw(t, "topic")
			want.Retain = rapid.Bool().Draw(t, "retain")
			if rapid.Bool().Draw(t, "nameless") {
				want.Module, want.Output, nameless = "", "", true
			}
			for _, f := range forwardedNames {
				v := genText().Draw(t, f.wire)
				if f.sys == message.SysCorrelationData {
					v = string(rapid.SliceOf(rapid.Byte()).Draw(t, "correlation"))
				}
				want.System = append(want.System, prop(f.sys, v))
			}
		}
		if rapid.Bool().Draw(t, "expires") {
			want.Expires = rapid.Int64Min(1).Draw(t, "ms")
		}
		want.Origin = message.Origin{
			Device: rapid.SampledFrom([]string{"self", "other"}).Draw(t, "by"),
			Epoch:  rapid.StringMatching(`[A-Za-z0-9_-]{1,16}`).Draw(t, "epoch"),
			Seq:    rapid.Uint64Min(1).Draw(t, "seq"),
		}
		want.Origin.Floor = rapid.Uint64Range(0, want.Origin.Seq).Draw(t, "floor")

		sent := want
		if nameless {
			sent.Device, want.Device = "", "self"
		}
		topic := string(AppendEventsTopic(nil, "self", &sent))
		var got message.Message
		if err := DecodeEvents(topic, &got); err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
		if err := Unwrap("self", &got); err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
		if diff := cmp.Diff(want, got, noEmpty); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", topic, diff)
		}
	})
}

// A module's client reads from an input's topic what the publisher said.
func TestInputRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genMessage(t)
		topic := string(AppendInputTopic(nil, "edge", "m", "in/1", &want))
		in, ok := ParseInput(topic)
		if !ok || in.Device != "edge" || in.Module != "m" || in.Input != "in/1" {
			t.Fatalf("%s: %+v %v", topic, in, ok)
		}
		var got message.Message
		if err := DecodeInput(topic, &got); err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
		want.Output = ""
		for i, p := range want.Properties {
			if isWireName(p.Name) {
				want.Properties[i].Name = propEscape + p.Name
			}
		}
		if diff := cmp.Diff(want, got, noEmpty); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", topic, diff)
		}
	})
}

func TestOriginForms(t *testing.T) {
	for _, s := range []string{"", "e", "e.1", "e.1.", ".1.1", "e.0.0", "e.1.2", "e.-1.0", "e.1.1.1", "e f.1.1", "e.18446744073709551616.0"} {
		if o, err := ParseOrigin(s); !errors.Is(err, ErrProperties) {
			t.Errorf("%q was taken for %+v", s, o)
		}
	}
	m := message.Message{Properties: []message.Property{prop(PropSequence, "nonsense"), prop("a", "1")}}
	if _, ok := TakeOrigin(&m); ok || len(m.Properties) != 2 {
		t.Error("a malformed origin was taken")
	}
	if err := Unwrap("edge", &m); !errors.Is(err, ErrProperties) {
		t.Errorf("Unwrap of a malformed origin: %v", err)
	}
	m = message.Message{Properties: []message.Property{prop("a", "1"), prop(PropSequence, "e.7.3")}}
	o, ok := TakeOrigin(&m)
	if want := (message.Origin{Epoch: "e", Seq: 7, Floor: 3}); !ok || o != want || len(m.Properties) != 1 {
		t.Errorf("got %+v %v, %d properties left", o, ok, len(m.Properties))
	}
}

func TestUnwrapRefuses(t *testing.T) {
	for _, p := range []message.Property{
		prop(PropTopic, ""), prop(PropTopic, "a/#"), prop(propExpires, "soon"), prop(propExpires, "0"),
		prop("penstock-correlation-data", "*"),
	} {
		m := message.Message{Properties: []message.Property{p}}
		if err := Unwrap("edge", &m); !errors.Is(err, ErrProperties) {
			t.Errorf("%+v: err = %v", p, err)
		}
	}
}
