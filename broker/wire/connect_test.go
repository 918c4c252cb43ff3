package wire

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var refusedConnects = []struct {
	name    string
	packet  []byte
	version byte // what the answer is shaped for
	code    byte
	connack byte
	clause  string
}{
	{"not CONNECT", raw(0xc0, 0), 0, ProtocolError, 0, "MQTT-3.1.0-1"},
	{"no fixed header", raw(0x10), 0, MalformedPacket, 0, "2.1"},
	{"empty", raw(0x10, 0), 0, MalformedPacket, 0, "3.1.2"},
	{"other protocol name", packet(0x10, text("HTTP"), raw(4, 2, 0, 0), text("c")), 0, UnsupportedVersion, 0, "MQTT-3.1.2-1"},
	{"protocol name in lower case", packet(0x10, text("mqtt"), raw(5, 2, 0, 0), none, text("c")), 0, UnsupportedVersion, 0, "MQTT-3.1.2-1"},
	{"3.1", packet(0x10, text("MQIsdp"), raw(3, 2, 0, 0), text("c")), V311, UnsupportedVersion, 1, "MQTT-3.1.2-2"},
	{"level 3", connect(3, 2, text("c")), V311, UnsupportedVersion, 1, "MQTT-3.1.2-2"},
	{"level 6 like 3.1.1", connect(6, 2, text("client")), V311, UnsupportedVersion, 1, "MQTT-3.1.2-2"},
	{"level 6 like 5.0", connect(6, 2, none, text("client")), V5, UnsupportedVersion, 1, "MQTT-3.1.2-2"},
	{"level 132", connect(132, 2, text("client")), V311, UnsupportedVersion, 1, "MQTT-3.1.2-2"},
	{"fixed header flags", append(raw(0x11), connect(4, 2, text("c"))[1:]...), V311, MalformedPacket, 0, "MQTT-2.1.3-1"},
	{"padded remaining length", packetPadded(connect(5, 2, none, text("c"))), V5, MalformedPacket, 0, "MQTT-1.5.5-1"},
	{"reserved flag", connect(4, 3, text("c")), V311, MalformedPacket, 0, "MQTT-3.1.2-3"},
	{"reserved flag, 5.0", connect(5, 3, none, text("c")), V5, MalformedPacket, 0, "MQTT-3.1.2-3"},
	{"will QoS 1 without will", connect(4, 0x0a, text("c")), V311, MalformedPacket, 0, "MQTT-3.1.2-11"},
	{"will QoS 1 without will, 5.0", connect(5, 0x0a, none, text("c")), V5, MalformedPacket, 0, "MQTT-3.1.2-11"},
	{"will retain without will", connect(4, 0x22, text("c")), V311, MalformedPacket, 0, "MQTT-3.1.2-13"},
	{"will QoS 3", connect(5, 0x1e, none, text("c"), none, text("t"), text("")), V5, MalformedPacket, 0, "MQTT-3.1.2-12"},
	{"password without user name", connect(4, 0x42, text("c"), text("p")), V311, MalformedPacket, 0, "3.1.1 MQTT-3.1.2-22"},
	{"user name missing", connect(4, 0x82, text("c")), V311, MalformedPacket, 0, "MQTT-3.1.2-17"},
	{"password missing", connect(5, 0xc2, none, text("c"), text("u")), V5, MalformedPacket, 0, "MQTT-3.1.2-17"},
	{"user name not UTF-8", connect(4, 0x82, text("c"), text("\xff")), V311, MalformedPacket, 0, "MQTT-1.5.4-1"},
	{"user name not UTF-8, 5.0", connect(5, 0x82, none, text("c"), text("\xff")), V5, MalformedPacket, 0, "MQTT-1.5.4-1"},
	{"user name with U+0000", connect(4, 0x82, text("c"), text("a\x00")), V311, MalformedPacket, 0, "MQTT-1.5.4-2"},
	{"client id not UTF-8", connect(4, 2, text("\xff")), V311, MalformedPacket, 0, "MQTT-1.5.4-1"},
	{"client id with U+0000", connect(5, 2, none, text("\x00")), V5, MalformedPacket, 0, "MQTT-1.5.4-2"},
	{"client id cut off", connect(4, 2, raw(0, 9, 'c')), V311, MalformedPacket, 0, "MQTT-3.1.3-3"},
	{"empty client id, clean session 0", connect(4, 0, text("")), V311, InvalidClientID, 2, "3.1.1 MQTT-3.1.3-8"},
	{"trailing bytes", connect(4, 2, text("c"), raw(0)), V311, MalformedPacket, 0, "3.1.3"},
	{"trailing bytes, 5.0", connect(5, 2, none, text("c"), raw(0)), V5, MalformedPacket, 0, "3.1.3"},
	{"will without topic", connect(4, 6, text("c")), V311, MalformedPacket, 0, "MQTT-3.1.2-9"},
	{"will without payload", connect(4, 6, text("c"), text("t")), V311, MalformedPacket, 0, "MQTT-3.1.2-9"},
	{"will topic empty", connect(4, 6, text("c"), text(""), text("x")), V311, ProtocolError, 0, "MQTT-4.7.3-1"},
	{"will topic wildcard", connect(5, 6, none, text("c"), none, text("a/#"), text("x")), V5, TopicNameInvalid, 0, "MQTT-3.3.2-2"},
	{"will topic not UTF-8", connect(4, 6, text("c"), text("\xff"), text("x")), V311, MalformedPacket, 0, "MQTT-1.5.4-1"},
	{"will properties cut off", connect(5, 6, none, text("c"), raw(9)), V5, MalformedPacket, 0, "2.2.2.1"},
	{"will delay twice", connect(5, 6, none, text("c"), section(prop(PropWillDelay, 0, 0, 0, 1), prop(PropWillDelay, 0, 0, 0, 1)), text("t"), text("")), V5, ProtocolError, 0, "2.2.2.2"},
	{"will topic alias", connect(5, 6, none, text("c"), section(prop(PropTopicAlias, 0, 1)), text("t"), text("")), V5, MalformedPacket, 0, "2.2.2.2"},
	{"will response topic wildcard", connect(5, 6, none, text("c"), section(textProp(PropResponseTopic, "+")), text("t"), text("")), V5, ProtocolError, 0, "MQTT-3.3.2-14"},
	{"will payload format 2", connect(5, 6, none, text("c"), section(prop(PropPayloadFormat, 2)), text("t"), text("")), V5, ProtocolError, 0, "2.2.2.2"},

	{"properties missing", connect(5, 2), V5, MalformedPacket, 0, "2.2.2.1"},
	{"properties cut off", connect(5, 2, raw(200, 1, PropReceiveMaximum)), V5, MalformedPacket, 0, "2.2.2.1"},
	{"property value cut off", with(prop(PropSessionExpiry, 0, 0)), V5, MalformedPacket, 0, "2.2.2"},
	{"unknown property", with(prop(0x7f, 0)), V5, MalformedPacket, 0, "2.2.2.2"},
	{"will delay among the CONNECT properties", with(prop(PropWillDelay, 0, 0, 0, 1)), V5, MalformedPacket, 0, "2.2.2.2"},
	{"session expiry twice", with(twice(prop(PropSessionExpiry, 0, 0, 0, 1))), V5, ProtocolError, 0, "2.2.2.2"},
	{"receive maximum twice", with(twice(prop(PropReceiveMaximum, 0, 1))), V5, ProtocolError, 0, "2.2.2.2"},
	{"maximum packet size twice", with(twice(prop(PropMaximumPacketSize, 0, 0, 1, 0))), V5, ProtocolError, 0, "2.2.2.2"},
	{"topic alias maximum twice", with(twice(prop(PropTopicAliasMaximum, 0, 1))), V5, ProtocolError, 0, "2.2.2.2"},
	{"request problem twice", with(twice(prop(PropRequestProblem, 1))), V5, ProtocolError, 0, "2.2.2.2"},
	{"authentication method twice", with(twice(textProp(PropAuthMethod, "m"))), V5, ProtocolError, 0, "2.2.2.2"},
	{"receive maximum 0", with(prop(PropReceiveMaximum, 0, 0)), V5, ProtocolError, 0, "3.1.2.11.3"},
	{"maximum packet size 0", with(prop(PropMaximumPacketSize, 0, 0, 0, 0)), V5, ProtocolError, 0, "3.1.2.11.4"},
	{"request response 2", with(prop(PropRequestResponse, 2)), V5, ProtocolError, 0, "2.2.2.2"},
	{"request problem 2", with(prop(PropRequestProblem, 2)), V5, ProtocolError, 0, "2.2.2.2"},
	{"authentication data without method", with(textProp(PropAuthData, "d")), V5, ProtocolError, 0, "3.1.2.11.10"},
	{"unknown authentication method", with(textProp(PropAuthMethod, "m"), textProp(PropAuthData, "d")), V5, BadAuthMethod, 0, "MQTT-4.12.0-1"},
}

func with(properties ...[]byte) []byte { return connect(5, 2, section(properties...), text("c")) }

func twice(p []byte) []byte { return append(bytes.Clone(p), p...) }

// packetPadded states the one-byte remaining length of p in two bytes.
func packetPadded(p []byte) []byte { return append(raw(p[0], p[1]|0x80, 0), p[2:]...) }

func TestForbiddenConnectsAreRefused(t *testing.T) {
	for _, c := range refusedConnects {
		t.Run(c.name, func(t *testing.T) {
			got, f := DecodeConnect(c.packet)
			if f == nil {
				t.Fatalf("% x passed", c.packet)
			}
			if f.Code != c.code || f.Clause != c.clause || f.Connack != c.connack {
				t.Errorf("refused with %#x/%d %s, want %#x/%d %s", f.Code, f.Connack, f, c.code, c.connack, c.clause)
			}
			if got.Version != c.version {
				t.Errorf("answer for version %d, want %d", got.Version, c.version)
			}
		})
	}
}

func TestRefusedConnectAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet []byte
		want   []byte
	}{
		{"level 6 like 3.1.1", connect(6, 2, text("client")), raw(0x20, 2, 0, 1)},
		{"empty id, clean session 0", connect(4, 0, text("")), raw(0x20, 2, 0, 2)},
		{"3.1.1 malformed", connect(4, 3, text("c")), nil},
		{"no MQTT", raw('G', 'E', 'T'), nil},
	} {
		got, f := DecodeConnect(c.packet)
		if answer := f.AppendConnack(nil, got.Version); !bytes.Equal(answer, c.want) {
			t.Errorf("%s: answered % x, want % x", c.name, answer, c.want)
		}
	}
	got, f := DecodeConnect(connect(6, 2, none, text("client")))
	answer := f.AppendConnack(nil, got.Version)
	if len(answer) < 5 || answer[0] != 0x20 || answer[2] != 0 || answer[3] != UnsupportedVersion {
		t.Errorf("level 6 like 5.0: answered % x, want CONNACK 0x84", answer)
	}
}

func TestConnectDecodesEveryField(t *testing.T) {
	p := fullConnect()
	got, f := DecodeConnect(p)
	if f != nil {
		t.Fatal(f)
	}
	for i := range p { // the result must own its memory
		p[i] = 0xee
	}
	want := Connect{
		Version: V5, ClientID: "client", Username: "user", Password: []byte("\x00\xff"), HasUsername: true, HasPassword: true,
		KeepAlive: 60, Clean: true, SessionExpiry: 256, ReceiveMaximum: 5, MaxPacketSize: 65536, TopicAliasMaximum: 7,
		RequestResponse: true, User: []UserProperty{{"k", "1"}, {"k", "2"}},
		Will: &Will{Topic: "will/t", Payload: []byte("gone"), QoS: 2, Retain: true, Properties: Properties{
			PayloadFormat: 1, Expiry: 4, Delay: 3, ContentType: []byte("text/plain"), ResponseTopic: []byte("r"), CorrelationData: []byte("\xff\x00"),
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Properties{}), cmpopts.IgnoreFields(Properties{}, "Raw")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !got.Will.Has(PropWillDelay) || got.Will.Has(PropTopicAlias) {
		t.Error("the will's properties are not remembered as sent")
	}
	for name, value := range got.Will.User() {
		if string(name) != "w" || string(value) != "x" {
			t.Errorf("will user property %q=%q", name, value)
		}
	}
}

func TestConnectDefaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet []byte
		want   Connect
	}{
		{"3.1.1 clean", connect(4, 2, text("")), Connect{Version: V311, KeepAlive: 60, Clean: true, ReceiveMaximum: 65535, RequestProblem: true}},
		{"3.1.1 kept", connect(4, 0, text("c")), Connect{Version: V311, ClientID: "c", KeepAlive: 60, SessionExpiry: NeverExpires, ReceiveMaximum: 65535, RequestProblem: true}},
		{"5.0 kept", connect(5, 0, none, text("")), Connect{Version: V5, KeepAlive: 60, ReceiveMaximum: 65535, RequestProblem: true}},
		{"5.0 password alone", connect(5, 0x42, none, text(""), text("")), Connect{Version: V5, KeepAlive: 60, Clean: true, HasPassword: true, Password: []byte{}, ReceiveMaximum: 65535, RequestProblem: true}},
	} {
		got, f := DecodeConnect(c.packet)
		if f != nil {
			t.Errorf("%s: %v", c.name, f)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
	}
}
