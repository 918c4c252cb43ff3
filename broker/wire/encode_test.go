package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestFrame(t *testing.T) {
	long := packet(0x30, text("t"), bytes.Repeat([]byte{1}, 300))
	for _, c := range []struct {
		name  string
		buf   []byte
		limit int
		n     int
		code  byte
	}{
		{"nothing", nil, 0, 0, 0},
		{"one byte", raw(0xc0), 0, 0, 0},
		{"exact", raw(0xc0, 0), 0, 2, 0},
		{"more behind", raw(0xc0, 0, 0x30), 0, 2, 0},
		{"length cut", long[:2], 0, 0, 0},
		{"body cut", long[:100], 0, 0, 0},
		{"two length bytes", long, 0, len(long), 0},
		{"at the limit", long, len(long), len(long), 0},
		{"over the limit", long, len(long) - 1, 0, PacketTooLarge},
		{"over the limit before the body came", long[:3], 100, 0, PacketTooLarge},
		{"largest", raw(0x30, 0xff, 0xff, 0xff, 0x7f), 0, 0, 0},
		{"five length bytes", raw(0x30, 0x80, 0x80, 0x80, 0x80, 1), 0, 0, MalformedPacket},
		{"five length bytes, fifth not there", raw(0x30, 0xff, 0xff, 0xff, 0xff), 0, 0, MalformedPacket},
	} {
		n, f := Frame(c.buf, c.limit)
		if n != c.n || (f != nil) != (c.code != 0) || f != nil && f.Code != c.code {
			t.Errorf("%s: %d, %v", c.name, n, f)
		}
	}
}

func TestOutgoingComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topic := rapid.StringMatching(`[a-zü/$ ]{1,40}`).Draw(t, "topic")
		o := Outgoing{
			Version: rapid.SampledFrom([]byte{V311, V5}).Draw(t, "version"),
			QoS:     rapid.ByteRange(0, 2).Draw(t, "qos"),
			Retain:  rapid.Bool().Draw(t, "retain"),
			ID:      rapid.Uint16Range(1, 65535).Draw(t, "id"),
			Topic:   topic,
			Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"),
		}
		o.Dup = o.QoS > 0 && rapid.Bool().Draw(t, "dup")
		value := rapid.StringMatching(`[a-z]{0,200}`).Draw(t, "value")
		o.Shared = AppendUserProp(AppendTextProp(AppendByteProp(nil, PropPayloadFormat, 1), PropContentType, value), "k", value)
		o.Own = AppendU16Prop(AppendU32Prop(nil, PropMessageExpiry, 70000), PropTopicAlias, 9)

		p := o.Append([]byte("before"))[6:]
		if n, f := Frame(p, 0); f != nil || n != len(p) || o.Size() != len(p) {
			t.Fatalf("Frame %d %v, Size %d, length %d", n, f, o.Size(), len(p))
		}
		if !o.Fits(uint32(len(p))) || o.Fits(uint32(len(p)-1)) || !o.Fits(0) {
			t.Fatal("Fits disagrees with the length")
		}
		var got Publish
		if f := DecodePublish(o.Version, p, &got); f != nil {
			t.Fatal(f)
		}
		if string(got.Topic) != topic || got.QoS != o.QoS || got.Dup != o.Dup || got.Retain != o.Retain || !bytes.Equal(got.Payload, o.Payload) {
			t.Fatalf("%+v came back as %+v", o, got)
		}
		if o.QoS > 0 && got.ID != o.ID {
			t.Fatalf("id %d came back as %d", o.ID, got.ID)
		}
		if o.Version == V5 && (got.Expiry != 70000 || got.TopicAlias != 9 || string(got.ContentType) != value || !got.Has(PropUser)) {
			t.Fatalf("properties came back as %+v", got.Properties)
		}
	})
}

func TestOutgoingTooLarge(t *testing.T) {
	o := Outgoing{Version: V311, Topic: strings.Repeat("t", 65536)}
	if o.Fits(0) {
		t.Error("a topic of 65,536 bytes fits")
	}
	o = Outgoing{Version: V311, Topic: "t", Payload: make([]byte, MaxRemaining-3)}
	if !o.Fits(0) {
		t.Error("the largest packet does not fit")
	}
	o.QoS = 1
	if o.Fits(0) {
		t.Error("a packet over the protocol's limit fits")
	}
}

func TestSubscriptionIdentifiersAreShortest(t *testing.T) {
	for v, want := range map[int][]byte{1: {11, 1}, 127: {11, 127}, 128: {11, 0x80, 1}, MaxRemaining: {11, 0xff, 0xff, 0xff, 0x7f}} {
		if got := AppendVarintProp(nil, PropSubscriptionID, v); !bytes.Equal(got, want) {
			t.Errorf("%d: % x", v, got)
		}
	}
}

func TestLongTextsAreCutBetweenCharacters(t *testing.T) {
	got := AppendTextProp(nil, PropReasonString, strings.Repeat("a", 65534)+"é")
	if n := int(got[1])<<8 | int(got[2]); n != 65534 || len(got) != 3+n {
		t.Errorf("cut to %d of %d bytes", n, len(got))
	}
}

func TestAckComesBack(t *testing.T) {
	for _, version := range []byte{V311, V5} {
		for typ, reason := range map[byte]byte{PUBACK: QuotaExceeded, PUBREC: NotAuthorized, PUBREL: PacketIDNotFound, PUBCOMP: PacketIDNotFound} {
			for _, r := range []byte{Success, reason} {
				p := AppendAck(nil, version, typ, 777, r)
				want := Ack{Type: typ, ID: 777, Reason: r}
				if version == V311 {
					want.Reason = Success
				}
				if got, f := DecodeAck(version, p); f != nil || got != want {
					t.Errorf("% x: %+v, %v; want %+v", p, got, f, want)
				}
				if (r == Success || version == V311) && len(p) != 4 {
					t.Errorf("version %d, reason %#x: % x is not the short form", version, r, p)
				}
			}
		}
	}
}

func TestDisconnectAndConnackBytes(t *testing.T) {
	long := strings.Repeat("r", 200)
	for _, c := range []struct {
		name string
		got  []byte
		want []byte
	}{
		{"disconnect", AppendDisconnect(nil, SessionTakenOver, "", 0), raw(0xe0, 2, 0x8e, 0)},
		{"disconnect with reason", AppendDisconnect(nil, QuotaExceeded, "full", 0), packet(0xe0, raw(0x97), section(textProp(PropReasonString, "full")))},
		{"disconnect with long reason", AppendDisconnect(nil, QuotaExceeded, long, 500), packet(0xe0, raw(0x97), section(textProp(PropReasonString, long)))},
		{"disconnect, reason too long for the client", AppendDisconnect(nil, QuotaExceeded, "full", 10), raw(0xe0, 2, 0x97, 0)},
		{"disconnect, client takes four bytes", AppendDisconnect(nil, QuotaExceeded, "full", 4), raw(0xe0, 2, 0x97, 0)},
		{"disconnect, client takes nothing", AppendDisconnect(nil, QuotaExceeded, "full", 3), nil},
		{"connack 3.1.1", AppendConnack(nil, V311, true, ConnackUnauthorized, "no"), raw(0x20, 2, 1, 5)},
		{"connack 5", AppendConnack(nil, V5, false, NotAuthorized, ""), raw(0x20, 3, 0, 0x87, 0)},
		{"connack 5 with reason", AppendConnack(nil, V5, false, NotAuthorized, "no"), packet(0x20, raw(0, 0x87), section(textProp(PropReasonString, "no")))},
		{"fault to 3.1.1", violation("x", "y").AppendDisconnect(nil, V311, 0), nil},
		{"fault to 5", violation("x", "y").AppendDisconnect(nil, V5, 0), packet(0xe0, raw(0x82), section(textProp(PropReasonString, "y")))},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
	}
}
