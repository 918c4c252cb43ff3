package message

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func samples() []Message {
	return []Message{
		{},
		{Kind: Plain, Topic: "sensors/kitchen/temp", QoS: 1, Body: []byte("21.5"), Accepted: 1_700_000_000_000},
		{
			Kind: Telemetry, QoS: 2, Retain: true, Device: "press-7", Module: "sensor", Output: "temperature",
			System:     []Property{{Name: SysMessageID, Value: "m-1"}, {Name: SysContentType, Value: "application/json"}},
			Properties: []Property{{Name: "alert", Value: ""}, {Name: "none", Null: true}, {Name: "ключ", Value: "значение"}},
			Body:       bytes.Repeat([]byte{0xff}, 300), Accepted: 1, Expires: 2,
			Origin: Origin{Device: "edge-1", Epoch: "e", Seq: 1 << 40, Floor: 9},
		},
	}
}

func TestCodecKeepsEveryField(t *testing.T) {
	for _, want := range samples() {
		got, err := Decode(Append(nil, &want))
		if err != nil {
			t.Fatal(err)
		}
		if want.Body == nil {
			want.Body = []byte{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("decoded message differs (-want +got):\n%s", diff)
		}
	}
}

func TestDecodeRefusesEveryTruncation(t *testing.T) {
	for _, m := range samples() {
		enc := Append(nil, &m)
		for n := range enc {
			if _, err := Decode(enc[:n]); err == nil {
				t.Fatalf("%d of %d bytes were taken for a whole message", n, len(enc))
			}
		}
		if _, err := Decode(append(enc, 0)); err == nil {
			t.Fatal("a trailing byte went unnoticed")
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		f.Add(Append(nil, &m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(Append(nil, &m))
		if err != nil {
			t.Fatalf("re-encoding a decoded message: %v", err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestPropertyLookup(t *testing.T) {
	m := samples()[2]
	if p, ok := m.Sys("MESSAGEID"); !ok || p.Value != "m-1" {
		t.Errorf("system properties are found without case: %v %v", p, ok)
	}
	if _, ok := m.Prop("ALERT"); ok {
		t.Error("application properties are found with case only")
	}
	if p, ok := m.Prop("none"); !ok || !p.Null {
		t.Errorf("a null property is there: %v %v", p, ok)
	}
}

func BenchmarkAppend(b *testing.B) {
	m := Message{Kind: Plain, Topic: "sensors/kitchen/temp", QoS: 1, Body: make([]byte, 256), Accepted: 1_700_000_000_000}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], &m)
	}
}
