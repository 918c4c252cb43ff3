package wire

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"
)

// engineDecodes hands one packet to the decoder of the engine behind, the way
// its clients.go does, and returns its error or panic. What vetting let through
// must cause neither.
func engineDecodes(version byte, p []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	pk := packets.Packet{ProtocolVersion: version}
	if err := pk.FixedHeader.Decode(p[0]); err != nil {
		return err
	}
	remaining, n, err := packets.DecodeLength(bytes.NewBuffer(p[1:]))
	if err != nil {
		return err
	}
	pk.FixedHeader.Remaining = remaining
	body := bytes.Clone(p[1+n:])
	switch pk.FixedHeader.Type {
	case CONNECT:
		return pk.ConnectDecode(body)
	case PUBLISH:
		return pk.PublishDecode(body)
	case PUBACK:
		return pk.PubackDecode(body)
	case PUBREC:
		return pk.PubrecDecode(body)
	case PUBREL:
		return pk.PubrelDecode(body)
	case PUBCOMP:
		return pk.PubcompDecode(body)
	case SUBSCRIBE:
		if err := pk.SubscribeDecode(body); err != nil {
			return err
		}
		if code := pk.SubscribeValidate(); code != packets.CodeSuccess {
			return code
		}
	case UNSUBSCRIBE:
		if err := pk.UnsubscribeDecode(body); err != nil {
			return err
		}
		if code := pk.UnsubscribeValidate(); code != packets.CodeSuccess {
			return code
		}
	case DISCONNECT:
		return pk.DisconnectDecode(body)
	case PINGREQ:
		return nil
	default:
		return fmt.Errorf("type %d reached the engine", pk.FixedHeader.Type)
	}
	return nil
}

func TestEngineDecodesWhatPasses(t *testing.T) {
	for name, c := range legalPackets() {
		if err := engineDecodes(c.version, c.packet); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The crash that made vetting necessary. When an upgrade of the engine ends it,
// this test says so.
func TestEngineStillPanicsWithoutVetting(t *testing.T) {
	err := engineDecodes(V5, packet(0x82, id, none, text("a")))
	if err == nil || !bytes.HasPrefix([]byte(err.Error()), []byte("panic")) {
		t.Errorf("SUBSCRIBE without options byte: %v; the engine used to panic", err)
	}
}

func seed(f *testing.F, add func(version byte, p []byte)) {
	for _, c := range legalPackets() {
		add(c.version, c.packet)
	}
	for _, c := range refused {
		add(c.version, c.packet)
	}
	for _, c := range refusedConnects {
		add(V5, c.packet)
	}
}

func FuzzFrame(f *testing.F) {
	seed(f, func(_ byte, p []byte) { f.Add(p, 100) })
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		n, fault := Frame(b, limit)
		if n < 0 || n > len(b) || n == 1 || fault != nil && n != 0 || limit > 0 && n > limit {
			t.Fatalf("%d of %d bytes, %v", n, len(b), fault)
		}
		if n > 0 {
			if m, fault := Frame(b[:n], limit); m != n || fault != nil {
				t.Fatalf("the packet alone: %d, %v; with bytes behind: %d", m, fault, n)
			}
		}
	})
}

func FuzzVet(f *testing.F) {
	seed(f, func(version byte, p []byte) { f.Add(version == V5, p) })
	f.Fuzz(func(t *testing.T, v5 bool, p []byte) {
		version := V311
		if v5 {
			version = V5
		}
		before := bytes.Clone(p)
		fault := Vet(version, p)
		if !bytes.Equal(before, p) {
			t.Fatal("vetting changed the packet")
		}
		if fault != nil {
			if fault.Code < UnspecifiedError || fault.Clause == "" || fault.Reason == "" {
				t.Fatalf("incomplete fault %+v", fault)
			}
			return
		}
		if n, fault := Frame(p, 0); fault != nil || n != len(p) {
			t.Fatalf("a packet passed that Frame does not see: %d, %v", n, fault)
		}
		if err := engineDecodes(version, p); err != nil {
			t.Fatalf("% x passed, the engine says %v", p, err)
		}
	})
}

func FuzzConnect(f *testing.F) {
	seed(f, func(_ byte, p []byte) { f.Add(p) })
	f.Fuzz(func(t *testing.T, p []byte) {
		c, fault := DecodeConnect(p)
		if fault != nil {
			fault.AppendConnack(nil, c.Version)
			return
		}
		if err := engineDecodes(0, p); err != nil {
			t.Fatalf("% x passed, the engine says %v", p, err)
		}
		if c.ReceiveMaximum == 0 || c.Version != V311 && c.Version != V5 {
			t.Fatalf("impossible CONNECT %+v", c)
		}
		again, fault := DecodeConnect(c.Append(nil))
		if diff := cmp.Diff(c, again, cmp.AllowUnexported(Properties{})); fault != nil || diff != "" {
			t.Fatalf("came back changed: %v\n%s", fault, diff)
		}
	})
}

func FuzzPublish(f *testing.F) {
	seed(f, func(version byte, p []byte) { f.Add(version == V5, p) })
	f.Add(false, raw(0x30, 0x84, 0, 0, 1, 't', 'x'))
	f.Fuzz(func(t *testing.T, v5 bool, b []byte) {
		version := V311
		if v5 {
			version = V5
		}
		var p Publish
		if DecodePublish(version, b, &p) != nil {
			return
		}
		if err := engineDecodes(version, b); err != nil {
			t.Fatalf("% x passed, the engine says %v", b, err)
		}
		for range p.User() {
		}
		o := Outgoing{Version: version, QoS: p.QoS, Dup: p.Dup, Retain: p.Retain, ID: p.ID, Topic: string(p.Topic), Shared: p.Raw, Payload: p.Payload}
		again := o.Append(nil)
		if len(b) > len(again) { // only 3.1.1 allows a remaining length in more bytes than it needs
			b = append(again[:len(again)-o.remaining():len(again)-o.remaining()], b[len(b)-o.remaining():]...)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("% x came back as % x", b, again)
		}
	})
}

func FuzzAck(f *testing.F) {
	seed(f, func(version byte, p []byte) { f.Add(version == V5, p) })
	f.Fuzz(func(t *testing.T, v5 bool, b []byte) {
		version := V311
		if v5 {
			version = V5
		}
		a, fault := DecodeAck(version, b)
		if fault != nil {
			return
		}
		if again, fault := DecodeAck(version, AppendAck(nil, version, a.Type, a.ID, a.Reason)); fault != nil || again != a {
			t.Fatalf("%+v came back as %+v, %v", a, again, fault)
		}
		if err := engineDecodes(version, b); err != nil {
			t.Fatalf("% x passed, the engine says %v", b, err)
		}
	})
}

func FuzzDisconnect(f *testing.F) {
	seed(f, func(version byte, p []byte) { f.Add(version == V5, p, uint32(0)) })
	f.Fuzz(func(t *testing.T, v5 bool, b []byte, expiry uint32) {
		version := V311
		if v5 {
			version = V5
		}
		d, fault := DecodeDisconnect(version, b, expiry)
		if fault == nil && expiry == 0 && d.SessionExpiry != 0 {
			t.Fatalf("% x raised an expiry of 0 to %d", b, d.SessionExpiry)
		}
	})
}
