package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"
)

func TestConnectComesBack(t *testing.T) {
	for name, c := range legalPackets() {
		if Type(c.packet) != CONNECT {
			continue
		}
		want, f := DecodeConnect(c.packet)
		if f != nil {
			t.Fatal(f)
		}
		got, f := DecodeConnect(want.Append(nil))
		if f != nil {
			t.Errorf("%s: %v", name, f)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Properties{})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// These are legal and the engine refuses or misreads them. When an upgrade ends
// that, the caller need not rewrite them any more.
func TestEngineStillMisreadsLegalPackets(t *testing.T) {
	for name, p := range map[string][]byte{
		"empty will payload": connect(4, 6, text("c"), text("t"), text("")),
		"empty password":     connect(4, 0xc2, text("c"), text("u"), text("")),
	} {
		c, f := DecodeConnect(p)
		if f != nil {
			t.Fatal(f)
		}
		if code := engineConnect(t, p); code == packets.CodeSuccess {
			t.Errorf("%s: the engine takes it now", name)
		}
		c.Will, c.Password, c.HasPassword = nil, nil, false
		if code := engineConnect(t, c.Append(nil)); code != packets.CodeSuccess {
			t.Errorf("%s: the engine refuses it rewritten: %v", name, code)
		}
	}
	p := raw(0xe0, 1, DisconnectWithWill)
	d, f := DecodeDisconnect(V5, p, 7)
	if f != nil {
		t.Fatal(f)
	}
	if reason := engineDisconnect(t, p).ReasonCode; reason == DisconnectWithWill {
		t.Error("the engine reads the reason of a short DISCONNECT now")
	}
	pk := engineDisconnect(t, d.Append(nil, V5))
	if pk.ReasonCode != DisconnectWithWill || pk.Properties.SessionExpiryInterval != 7 {
		t.Errorf("rewritten, the engine reads %#x, expiry %d", pk.ReasonCode, pk.Properties.SessionExpiryInterval)
	}
	if again, f := DecodeDisconnect(V311, Disconnect{}.Append(nil, V311), 0); f != nil || again.Reason != Success {
		t.Errorf("3.1.1: %+v, %v", again, f)
	}
}

func engineConnect(t *testing.T, p []byte) packets.Code {
	t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: CONNECT, Remaining: len(p) - 2}}
	if err := pk.ConnectDecode(p[2:]); err != nil {
		t.Fatal(err)
	}
	return pk.ConnectValidate()
}

func engineDisconnect(t *testing.T, p []byte) packets.Packet {
	t.Helper()
	pk := packets.Packet{ProtocolVersion: V5, FixedHeader: packets.FixedHeader{Type: DISCONNECT, Remaining: len(p) - 2}}
	if err := pk.DisconnectDecode(p[2:]); err != nil {
		t.Fatal(err)
	}
	return pk
}
