package iothub

import (
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

// What can be decoded can be encoded, and decodes to the same again.
func FuzzDecodeEvents(f *testing.F) {
	for _, s := range []string{
		"devices/d/messages/events/", "devices/d/modules/m/messages/events/%24.on=o&a=%20/", "devices/a%23/messages/events/?x&y=&z=1",
		"devices/d/messages/events/%24.exp=2026-01-02T03:04:05Z&%24.cdid=x", "devices/d/messages/events/penstock-app-x=1&%24.zz=",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		if !utf8.ValidString(topic) || len(topic) > MaxTopic {
			return // the broker refuses these before
		}
		var m message.Message
		if DecodeEvents(topic, &m) != nil {
			return
		}
		var again message.Message
		enc := string(AppendEventsTopic(nil, "self", &m))
		if err := DecodeEvents(enc, &again); err != nil {
			t.Fatalf("%q became %q: %v", topic, enc, err)
		}
		if err := Unwrap("self", &again); err != nil {
			t.Fatalf("%q became %q: %v", topic, enc, err)
		}
		if diff := cmp.Diff(m, again, noEmpty); diff != "" {
			t.Fatalf("%q became %q (-first +again):\n%s", topic, enc, diff)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	f.Add("penstock-seq=e.1.1&penstock-topic=a%2Fb&penstock-correlation-data=AA")
	f.Add("penstock-origin=x&penstock-expires=9&penstock-app-penstock-seq=1&penstock-retained")
	f.Fuzz(func(t *testing.T, bag string) {
		m := message.Message{Device: "d"}
		if decodeBag(bag, &m) != nil || Unwrap("self", &m) != nil {
			return
		}
		if m.Kind == message.Plain && m.Topic == "" {
			t.Fatalf("%q gives a plain message without a topic", bag)
		}
		if m.Origin != (message.Origin{}) && (m.Origin.Seq == 0 || m.Origin.Device == "") {
			t.Fatalf("%q gives the origin %+v", bag, m.Origin)
		}
	})
}

func FuzzParseUsername(f *testing.F) {
	f.Add("hub/d/?api-version=1")
	f.Add("hub/d/m/api-version=2017-06-30/DeviceClientType=a/b")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUsername(s)
		if err == nil && (!ValidID(u.Device) || u.Module != "" && !ValidID(u.Module) || u.Host == "") {
			t.Fatalf("%q gives %+v", s, u)
		}
	})
}

func FuzzParseOrigin(f *testing.F) {
	f.Add("e7.12.5")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOrigin(s)
		if err != nil {
			return
		}
		if again, err := ParseOrigin(string(AppendOrigin(nil, o))); err != nil || again != o {
			t.Fatalf("%q gives %+v, then %+v, %v", s, o, again, err)
		}
	})
}

func FuzzParseOperation(f *testing.F) {
	f.Add("$iothub/methods/res/200/?$rid=1&$random&=v")
	f.Fuzz(func(t *testing.T, topic string) {
		if o, err := ParseOperation(topic); err == nil && len(o.Properties) > MaxProperties {
			t.Fatalf("%d properties", len(o.Properties))
		}
		ClassifyFilter(topic)
		ParseInput(topic)
	})
}

func BenchmarkDecodeEvents(b *testing.B) {
	for name, topic := range map[string]string{
		"no-bag": "devices/press-7/modules/sensor/messages/events/",
		"bag":    "devices/press-7/modules/sensor/messages/events/%24.on=temperature&%24.mid=6ba7b810&%24.ct=application%2Fjson&%24.ce=utf-8&alert=true&unit=C",
	} {
		b.Run(name, func(b *testing.B) {
			var m message.Message
			b.ReportAllocs()
			for b.Loop() {
				m = message.Message{}
				if err := DecodeEvents(topic, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendEventsTopic(b *testing.B) {
	m := message.Message{
		Device: "press-7", Module: "sensor", Output: "temperature",
		System:     []message.Property{prop(message.SysMessageID, "6ba7b810"), prop(message.SysContentType, "application/json")},
		Properties: []message.Property{prop("alert", "true")},
		Origin:     message.Origin{Device: "edge", Epoch: "k3j2h1", Seq: 123456, Floor: 123000},
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEventsTopic(buf[:0], "edge", &m)
	}
}
