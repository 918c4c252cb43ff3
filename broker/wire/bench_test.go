package wire

import (
	"bytes"
	"testing"
)

var benchPublishes = map[string]struct {
	version byte
	packet  []byte
}{
	"3.1.1":           {V311, packet(0x32, text("devices/press-7/messages/events/"), id, bytes.Repeat(raw(1), 256))},
	"5.0":             {V5, packet(0x32, text("devices/press-7/messages/events/"), id, none, bytes.Repeat(raw(1), 256))},
	"5.0 properties":  {V5, packet(0x32, text("devices/press-7/messages/events/"), id, fullPublishProps(), bytes.Repeat(raw(1), 256))},
	"3.1.1 not ASCII": {V311, packet(0x32, text("devices/пресс-7/messages/events/"), id, bytes.Repeat(raw(1), 256))},
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	var p Publish
	var o Outgoing
	var n int
	buf := make([]byte, 0, 4096)
	for name, c := range benchPublishes {
		if a := testing.AllocsPerRun(100, func() {
			Frame(c.packet, 1<<20)
			DecodePublish(c.version, c.packet, &p)
			for name, value := range p.User() {
				n += len(name) + len(value)
			}
		}); a != 0 {
			t.Errorf("decoding %s allocates %v times", name, a)
		}
	}
	ack := raw(0x40, 2, 0, 9)
	if a := testing.AllocsPerRun(100, func() {
		DecodeAck(V5, ack)
		out := AppendAck(buf, V5, PUBACK, 9, Success)
		o = Outgoing{Version: V5, QoS: 1, ID: 9, Topic: "a/b", Payload: ack}
		out = o.Append(out)
		n += len(out)
	}); a != 0 {
		t.Errorf("acknowledging and sending allocates %v times", a)
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	for name, c := range benchPublishes {
		b.Run(name, func(b *testing.B) {
			var p Publish
			b.ReportAllocs()
			for b.Loop() {
				n, _ := Frame(c.packet, 1<<20)
				if DecodePublish(c.version, c.packet[:n], &p) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkDecodeAck(b *testing.B) {
	ack := raw(0x40, 2, 0, 9)
	b.ReportAllocs()
	for b.Loop() {
		if _, f := DecodeAck(V311, ack); f != nil {
			b.Fatal(f)
		}
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	o := Outgoing{Version: V5, QoS: 1, ID: 9, Topic: "sensors/kitchen/temp", Payload: make([]byte, 256)}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = o.Append(buf[:0])
	}
}

func BenchmarkVetSubscribe(b *testing.B) {
	p := sub(1, "devices/press-7/messages/devicebound/#")
	b.ReportAllocs()
	for b.Loop() {
		if f := Vet(V5, p); f != nil {
			b.Fatal(f)
		}
	}
}
