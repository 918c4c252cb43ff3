package wire

import (
	"slices"
	"testing"
)

func TestLegalPacketsPass(t *testing.T) {
	for name, c := range legalPackets() {
		t.Run(name, func(t *testing.T) {
			if n, f := Frame(c.packet, 0); f != nil || n != len(c.packet) {
				t.Fatalf("Frame = %d, %v; the packet has %d bytes", n, f, len(c.packet))
			}
			if f := vetAny(c.version, c.packet); f != nil {
				t.Fatalf("refused: %v", f)
			}
		})
	}
}

// vetAny vets a packet as the connection would: CONNECT first, all others after it.
func vetAny(version byte, p []byte) *Fault {
	if Type(p) == CONNECT {
		_, f := DecodeConnect(p)
		return f
	}
	return Vet(version, p)
}

// Every cut and every appended byte must be noticed, except where the rest is a
// payload or an optional tail.
func TestCutPacketsNeverPanic(t *testing.T) {
	for name, c := range legalPackets() {
		for n := range c.packet {
			short := slices.Clone(c.packet[:n])
			if f := vetAny(c.version, short); f == nil && n > 0 {
				t.Errorf("%s: %d of %d bytes pass although the remaining length says more", name, n, len(c.packet))
			}
			if n < 2 {
				continue
			}
			// The same cut with a remaining length that agrees.
			body := c.packet[2:max(2, n)]
			vetAny(c.version, packet(c.packet[0], body))
		}
	}
}

type refusedCase struct {
	name    string
	version byte
	packet  []byte
	code    byte
	clause  string
}

func sub(options byte, filter string, properties ...[]byte) []byte {
	return packet(0x82, id, section(properties...), text(filter), raw(options))
}

func sub3(filter string, qos byte) []byte { return packet(0x82, id, text(filter), raw(qos)) }

func pub(properties ...[]byte) []byte {
	return packet(0x30, text("t"), section(properties...), raw('x'))
}

var refused = []refusedCase{
	// Packet types and fixed headers.
	{"type 0", V311, raw(0, 0), MalformedPacket, "2.1.2"},
	{"type 0, 5.0", V5, raw(0, 0), MalformedPacket, "2.1.2"},
	{"type 15 in 3.1.1", V311, raw(0xf0, 0), MalformedPacket, "2.1.2"},
	{"second CONNECT", V311, connect(4, 2, text("c")), ProtocolError, "MQTT-3.1.0-2"},
	{"second CONNECT, 5.0", V5, connect(5, 2, none, text("c")), ProtocolError, "MQTT-3.1.0-2"},
	{"CONNACK from a client", V5, raw(0x20, 3, 0, 0, 0), ProtocolError, "2.1.2"},
	{"SUBACK from a client", V311, raw(0x90, 3, 0, 1, 0), ProtocolError, "2.1.2"},
	{"SUBACK from a client, 5.0", V5, raw(0x90, 4, 0, 1, 0, 0), ProtocolError, "2.1.2"},
	{"UNSUBACK from a client", V311, raw(0xb0, 2, 0, 1), ProtocolError, "2.1.2"},
	{"PINGRESP from a client", V5, raw(0xd0, 0), ProtocolError, "2.1.2"},
	{"padded remaining length", V5, raw(0xc0, 0x80, 0), MalformedPacket, "MQTT-1.5.5-1"},

	// PINGREQ.
	{"PINGREQ with a body", V311, raw(0xc0, 1, 0), MalformedPacket, "3.12.1"},
	{"PINGREQ with a body, 5.0", V5, raw(0xc0, 1, 0), MalformedPacket, "3.12.1"},
	{"PINGREQ flags", V311, raw(0xc1, 0), MalformedPacket, "MQTT-2.1.3-1"},
	{"PINGREQ flags, 5.0", V5, raw(0xc8, 0), MalformedPacket, "MQTT-2.1.3-1"},

	// SUBSCRIBE.
	{"SUBSCRIBE without options byte", V5, packet(0x82, id, none, text("a")), MalformedPacket, "3.8.3"},
	{"SUBSCRIBE without QoS byte", V311, packet(0x82, id, text("a")), MalformedPacket, "3.8.3"},
	{"second filter without options byte", V5, packet(0x82, id, none, text("a"), raw(0), text("b")), MalformedPacket, "3.8.3"},
	{"filter cut off", V5, packet(0x82, id, none, raw(0, 9, 'a', 0)), MalformedPacket, "3.8.3"},
	{"SUBSCRIBE flags", V311, packet(0x80, id, text("a"), raw(0)), MalformedPacket, "MQTT-2.1.3-1"},
	{"SUBSCRIBE flags, 5.0", V5, packet(0x83, id, none, text("a"), raw(0)), MalformedPacket, "MQTT-2.1.3-1"},
	{"SUBSCRIBE id 0", V311, packet(0x82, raw(0, 0), text("a"), raw(0)), ProtocolError, "MQTT-2.2.1-3"},
	{"SUBSCRIBE id 0, 5.0", V5, packet(0x82, raw(0, 0), none, text("a"), raw(0)), ProtocolError, "MQTT-2.2.1-3"},
	{"SUBSCRIBE half an id", V311, packet(0x82, raw(1)), MalformedPacket, "2.2.1"},
	{"SUBSCRIBE without filter", V311, packet(0x82, id), ProtocolError, "MQTT-3.8.3-2"},
	{"SUBSCRIBE without filter, 5.0", V5, packet(0x82, id, none), ProtocolError, "MQTT-3.8.3-2"},
	{"SUBSCRIBE without properties", V5, packet(0x82, id), MalformedPacket, "2.2.2.1"},
	{"empty filter", V311, sub3("", 0), MalformedPacket, "MQTT-4.7.3-1"},
	{"empty filter, 5.0", V5, sub(0, ""), MalformedPacket, "MQTT-4.7.3-1"},
	{"a#", V311, sub3("a#", 0), MalformedPacket, "MQTT-4.7.1-1"},
	{"a#, 5.0", V5, sub(0, "a#"), MalformedPacket, "MQTT-4.7.1-1"},
	{"#/a", V311, sub3("#/a", 0), MalformedPacket, "MQTT-4.7.1-1"},
	{"a/#/b", V5, sub(0, "a/#/b"), MalformedPacket, "MQTT-4.7.1-1"},
	{"##", V5, sub(0, "##"), MalformedPacket, "MQTT-4.7.1-1"},
	{"a+/b", V311, sub3("a+/b", 0), MalformedPacket, "MQTT-4.7.1-2"},
	{"a+/b, 5.0", V5, sub(0, "a+/b"), MalformedPacket, "MQTT-4.7.1-2"},
	{"+a", V311, sub3("+a", 0), MalformedPacket, "MQTT-4.7.1-2"},
	{"+a, 5.0", V5, sub(0, "+a"), MalformedPacket, "MQTT-4.7.1-2"},
	{"+#", V5, sub(0, "+#"), MalformedPacket, "MQTT-4.7.1-2"},
	{"wildcard inside a share", V5, sub(0, "$share/g/a#"), MalformedPacket, "MQTT-4.7.1-1"},
	{"$share", V5, sub(0, "$share"), MalformedPacket, "MQTT-4.8.2-2"},
	{"$share/g", V5, sub(0, "$share/g"), MalformedPacket, "MQTT-4.8.2-2"},
	{"$share/g/", V5, sub(0, "$share/g/"), MalformedPacket, "MQTT-4.8.2-2"},
	{"$share//t", V5, sub(0, "$share//t"), MalformedPacket, "MQTT-4.8.2-1"},
	{"$share/g+/t", V5, sub(0, "$share/g+/t"), MalformedPacket, "MQTT-4.8.2-2"},
	{"$share/#/t", V5, sub(0, "$share/#/t"), MalformedPacket, "MQTT-4.8.2-2"},
	{"$share//t in 3.1.1", V311, sub3("$share//t", 0), MalformedPacket, "MQTT-4.8.2-1"},
	{"filter with U+0000", V311, sub3("a\x00", 0), MalformedPacket, "MQTT-1.5.4-2"},
	{"filter with a surrogate", V5, sub(0, "a\xed\xa0\x80"), MalformedPacket, "MQTT-1.5.4-1"},
	{"filter not UTF-8", V311, sub3("\xff", 0), MalformedPacket, "MQTT-1.5.4-1"},
	{"QoS 3 asked", V311, sub3("a", 3), ProtocolError, "3.8.3.1"},
	{"QoS 3 asked, 5.0", V5, sub(3, "a"), ProtocolError, "3.8.3.1"},
	{"reserved QoS bits", V311, sub3("a", 4), MalformedPacket, "3.1.1 MQTT-3-8.3-4"},
	{"reserved option bit 6", V5, sub(0x40, "a"), MalformedPacket, "MQTT-3.8.3-5"},
	{"reserved option bit 7", V5, sub(0x81, "a"), MalformedPacket, "MQTT-3.8.3-5"},
	{"retain handling 3", V5, sub(0x30, "a"), ProtocolError, "3.8.3.1"},
	{"No Local on a share", V5, sub(0x05, "$share/g/a"), ProtocolError, "MQTT-3.8.3-4"},
	{"subscription id 0", V5, sub(0, "a", prop(PropSubscriptionID, 0)), ProtocolError, "3.8.2.1.2"},
	{"subscription id twice", V5, sub(0, "a", prop(PropSubscriptionID, 1), prop(PropSubscriptionID, 2)), ProtocolError, "2.2.2.2"},
	{"subscription id of five bytes", V5, sub(0, "a", prop(PropSubscriptionID, 0x80, 0x80, 0x80, 0x80, 1)), MalformedPacket, "2.2.2"},
	{"subscription id padded", V5, sub(0, "a", prop(PropSubscriptionID, 0x81, 0)), MalformedPacket, "2.2.2"},
	{"unknown property", V5, sub(0, "a", prop(99, 1)), MalformedPacket, "2.2.2.2"},
	{"property of another packet", V5, sub(0, "a", prop(PropReceiveMaximum, 0, 1)), MalformedPacket, "2.2.2.2"},
	{"property section longer than the packet", V5, packet(0x82, id, raw(90), text("a"), raw(0)), MalformedPacket, "2.2.2.1"},
	{"user property cut off", V5, sub(0, "a", raw(PropUser, 0, 1, 'a', 0)), MalformedPacket, "2.2.2"},

	// UNSUBSCRIBE.
	{"UNSUBSCRIBE flags", V311, packet(0xa0, id, text("a")), MalformedPacket, "MQTT-2.1.3-1"},
	{"UNSUBSCRIBE id 0", V5, packet(0xa2, raw(0, 0), none, text("a")), ProtocolError, "MQTT-2.2.1-3"},
	{"UNSUBSCRIBE without filter", V311, packet(0xa2, id), ProtocolError, "MQTT-3.10.3-2"},
	{"UNSUBSCRIBE without filter, 5.0", V5, packet(0xa2, id, none), ProtocolError, "MQTT-3.10.3-2"},
	{"UNSUBSCRIBE empty filter", V5, packet(0xa2, id, none, text("")), MalformedPacket, "MQTT-4.7.3-1"},
	{"UNSUBSCRIBE empty filter, 3.1.1", V311, packet(0xa2, id, text("")), MalformedPacket, "MQTT-4.7.3-1"},
	{"UNSUBSCRIBE a#", V311, packet(0xa2, id, text("a#")), MalformedPacket, "MQTT-4.7.1-1"},
	{"UNSUBSCRIBE with a subscription id", V5, packet(0xa2, id, section(prop(PropSubscriptionID, 1)), text("a")), MalformedPacket, "2.2.2.2"},

	// PUBLISH.
	{"QoS 3", V311, packet(0x36, text("t"), id), MalformedPacket, "MQTT-3.3.1-4"},
	{"QoS 3, 5.0", V5, packet(0x36, text("t"), id, none), MalformedPacket, "MQTT-3.3.1-4"},
	{"DUP with QoS 0", V311, packet(0x38, text("t")), ProtocolError, "MQTT-3.3.1-2"},
	{"DUP with QoS 0, 5.0", V5, packet(0x38, text("t"), none), ProtocolError, "MQTT-3.3.1-2"},
	{"PUBLISH id 0", V311, packet(0x32, text("t"), raw(0, 0)), ProtocolError, "MQTT-2.2.1-3"},
	{"PUBLISH id 0, 5.0", V5, packet(0x34, text("t"), raw(0, 0), none), ProtocolError, "MQTT-2.2.1-3"},
	{"PUBLISH without id", V311, packet(0x32, text("t")), MalformedPacket, "3.3.2"},
	{"PUBLISH without topic", V311, packet(0x30), MalformedPacket, "3.3.2"},
	{"topic cut off", V5, packet(0x30, raw(0, 9, 't', 0)), MalformedPacket, "3.3.2"},
	{"topic with +", V311, packet(0x30, text("a/+")), TopicNameInvalid, "MQTT-3.3.2-2"},
	{"topic with #", V5, packet(0x30, text("long/enough/for/words/#"), none), TopicNameInvalid, "MQTT-3.3.2-2"},
	{"empty topic", V311, packet(0x30, text("")), ProtocolError, "MQTT-4.7.3-1"},
	{"empty topic without alias", V5, packet(0x30, text(""), none), ProtocolError, "MQTT-4.7.3-1"},
	{"topic with U+0000", V311, packet(0x30, text("a\x00b")), MalformedPacket, "MQTT-1.5.4-2"},
	{"topic with a surrogate", V311, packet(0x30, text("\xed\xbf\xbf")), MalformedPacket, "MQTT-1.5.4-1"},
	{"topic overlong UTF-8", V5, packet(0x30, text("\xc0\x80"), none), MalformedPacket, "MQTT-1.5.4-1"},
	{"PUBLISH without properties", V5, packet(0x30, text("t")), MalformedPacket, "2.2.2.1"},
	{"response topic with a wildcard", V5, pub(textProp(PropResponseTopic, "a/#")), ProtocolError, "MQTT-3.3.2-14"},
	{"response topic not UTF-8", V5, pub(textProp(PropResponseTopic, "\xff")), MalformedPacket, "MQTT-1.5.4-1"},
	{"topic alias 0", V5, pub(prop(PropTopicAlias, 0, 0)), TopicAliasInvalid, "MQTT-3.3.2-8"},
	{"topic alias twice", V5, pub(prop(PropTopicAlias, 0, 1), prop(PropTopicAlias, 0, 1)), ProtocolError, "2.2.2.2"},
	{"content type twice", V5, pub(textProp(PropContentType, "a"), textProp(PropContentType, "a")), ProtocolError, "2.2.2.2"},
	{"content type not UTF-8", V5, pub(textProp(PropContentType, "\xff")), MalformedPacket, "MQTT-1.5.4-1"},
	{"message expiry twice", V5, pub(prop(PropMessageExpiry, 0, 0, 0, 1), prop(PropMessageExpiry, 0, 0, 0, 1)), ProtocolError, "2.2.2.2"},
	{"payload format 2", V5, pub(prop(PropPayloadFormat, 2)), ProtocolError, "2.2.2.2"},
	{"payload format twice", V5, pub(prop(PropPayloadFormat, 1), prop(PropPayloadFormat, 1)), ProtocolError, "2.2.2.2"},
	{"correlation data twice", V5, pub(textProp(PropCorrelationData, ""), textProp(PropCorrelationData, "")), ProtocolError, "2.2.2.2"},
	{"subscription id from a client", V5, pub(prop(PropSubscriptionID, 1)), ProtocolError, "MQTT-3.3.4-6"},
	{"property value cut off", V5, pub(prop(PropMessageExpiry, 0, 0)), MalformedPacket, "2.2.2"},
	{"property without value", V5, pub(raw(PropPayloadFormat)), MalformedPacket, "2.2.2"},
	{"will delay in PUBLISH", V5, pub(prop(PropWillDelay, 0, 0, 0, 1)), MalformedPacket, "2.2.2.2"},
	{"user property with U+0000", V5, pub(userProp("a", "\x00")), MalformedPacket, "MQTT-1.5.4-2"},
	{"user property name not UTF-8", V5, pub(userProp("\xff", "")), MalformedPacket, "MQTT-1.5.4-1"},

	// Acknowledgements.
	{"PUBACK id 0", V311, raw(0x40, 2, 0, 0), ProtocolError, "2.2.1"},
	{"PUBREC id 0, 5.0", V5, raw(0x50, 2, 0, 0), ProtocolError, "2.2.1"},
	{"PUBACK with extra bytes", V311, raw(0x40, 3, 0, 1, 0), MalformedPacket, "3.4.1"},
	{"PUBACK half an id", V5, raw(0x40, 1, 0), MalformedPacket, "3.4.1"},
	{"PUBACK empty", V311, raw(0x40, 0), MalformedPacket, "3.4.1"},
	{"PUBACK flags", V311, raw(0x41, 2, 0, 1), MalformedPacket, "MQTT-2.1.3-1"},
	{"PUBREC flags", V5, raw(0x52, 2, 0, 1), MalformedPacket, "MQTT-2.1.3-1"},
	{"PUBREL flags", V311, raw(0x60, 2, 0, 1), MalformedPacket, "MQTT-2.1.3-1"},
	{"PUBREL flags, 5.0", V5, raw(0x6a, 2, 0, 1), MalformedPacket, "MQTT-2.1.3-1"},
	{"PUBCOMP flags", V5, raw(0x72, 2, 0, 1), MalformedPacket, "MQTT-2.1.3-1"},
	{"PUBACK undefined reason", V5, raw(0x40, 3, 0, 1, 0x01), ProtocolError, "MQTT-3.4.2-1"},
	{"PUBREC undefined reason", V5, raw(0x50, 3, 0, 1, 0x92), ProtocolError, "MQTT-3.5.2-1"},
	{"PUBREL undefined reason", V5, raw(0x62, 3, 0, 1, 0x10), ProtocolError, "MQTT-3.6.2-1"},
	{"PUBCOMP undefined reason", V5, raw(0x70, 3, 0, 1, 0x80), ProtocolError, "MQTT-3.7.2-1"},
	{"PUBACK bytes after properties", V5, raw(0x40, 5, 0, 1, 0, 0, 7), MalformedPacket, "3.4.2.2"},
	{"PUBACK properties cut off", V5, raw(0x40, 4, 0, 1, 0, 7), MalformedPacket, "2.2.2.1"},
	{"PUBACK reason string twice", V5, packet(0x40, id, raw(0), section(textProp(PropReasonString, "a"), textProp(PropReasonString, "a"))), ProtocolError, "2.2.2.2"},
	{"PUBACK with a foreign property", V5, packet(0x40, id, raw(0), section(prop(PropTopicAlias, 0, 1))), MalformedPacket, "2.2.2.2"},

	// DISCONNECT and AUTH.
	{"DISCONNECT flags", V311, raw(0xe1, 0), MalformedPacket, "MQTT-3.14.1-1"},
	{"DISCONNECT flags, 5.0", V5, raw(0xe4, 0), MalformedPacket, "MQTT-3.14.1-1"},
	{"DISCONNECT with a body", V311, raw(0xe0, 1, 0), MalformedPacket, "3.1.1 3.14"},
	{"DISCONNECT server's reason", V5, raw(0xe0, 1, SessionTakenOver), ProtocolError, "MQTT-3.14.2-1"},
	{"DISCONNECT undefined reason", V5, raw(0xe0, 2, 5, 0), ProtocolError, "MQTT-3.14.2-1"},
	{"DISCONNECT expiry twice", V5, packet(0xe0, raw(0), section(prop(PropSessionExpiry, 0, 0, 0, 1), prop(PropSessionExpiry, 0, 0, 0, 1))), ProtocolError, "2.2.2.2"},
	{"DISCONNECT bytes after properties", V5, raw(0xe0, 3, 0, 0, 7), MalformedPacket, "3.14.2"},
	{"DISCONNECT properties cut off", V5, raw(0xe0, 2, 0, 7), MalformedPacket, "2.2.2.1"},
	{"AUTH empty", V5, raw(0xf0, 0), ProtocolError, "MQTT-4.12.0-7"},
	{"AUTH without method", V5, raw(0xf0, 2, 0x18, 0), ProtocolError, "MQTT-4.12.0-7"},
	{"AUTH with method", V5, packet(0xf0, raw(0x19), section(textProp(PropAuthMethod, "m"))), ProtocolError, "MQTT-4.12.0-7"},
	{"AUTH flags", V5, raw(0xf1, 0), MalformedPacket, "MQTT-2.1.3-1"},
	{"AUTH undefined reason", V5, raw(0xf0, 2, 0x55, 0), ProtocolError, "MQTT-3.15.2-1"},
	{"AUTH properties cut off", V5, raw(0xf0, 2, 0x18, 9), MalformedPacket, "2.2.2.1"},
	{"AUTH bytes after properties", V5, raw(0xf0, 3, 0x18, 0, 9), MalformedPacket, "3.15.2"},
	{"AUTH method twice", V5, packet(0xf0, raw(0x18), section(textProp(PropAuthMethod, "m"), textProp(PropAuthMethod, "m"))), ProtocolError, "2.2.2.2"},
}

func TestForbiddenPacketsAreRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			f := Vet(c.version, c.packet)
			if f == nil {
				t.Fatalf("% x passed", c.packet)
			}
			if f.Code != c.code || f.Clause != c.clause {
				t.Errorf("refused with %#x %s, want %#x %s", f.Code, f, c.code, c.clause)
			}
			if f.Connack != 0 {
				t.Errorf("a fault after CONNECT names a CONNACK code: %d", f.Connack)
			}
		})
	}
}

func TestDisconnectSessionExpiry(t *testing.T) {
	raise := packet(0xe0, raw(0), section(prop(PropSessionExpiry, 0, 0, 0, 9)))
	if _, f := DecodeDisconnect(V5, raise, 0); f == nil || f.Code != ProtocolError {
		t.Errorf("raising a session expiry of 0: %v", f)
	}
	for _, c := range []struct {
		name   string
		packet []byte
		want   Disconnect
	}{
		{"changed", raise, Disconnect{SessionExpiry: 9}},
		{"kept", raw(0xe0, 0), Disconnect{SessionExpiry: 5}},
		{"ended", packet(0xe0, raw(4), section(prop(PropSessionExpiry, 0, 0, 0, 0))), Disconnect{Reason: DisconnectWithWill}},
	} {
		d, f := DecodeDisconnect(V5, c.packet, 5)
		if f != nil || d != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, d, f, c.want)
		}
	}
	if d, f := DecodeDisconnect(V5, packet(0xe0, raw(0), section(prop(PropSessionExpiry, 0, 0, 0, 0))), 0); f != nil || d.SessionExpiry != 0 {
		t.Errorf("0 stays 0: %+v, %v", d, f)
	}
}
