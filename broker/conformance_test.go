package broker_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
)

// raw builds a packet around a body.
func raw(first byte, parts ...[]byte) []byte { return mt.Bytes(first, parts...) }

// connectRaw builds a CONNECT from its flags, properties (5.0) and payload fields.
func connectRaw(version, flags byte, props []byte, payload ...[]byte) []byte {
	head := slices.Concat(mt.Field("MQTT"), []byte{version, flags, 0, 30})
	if version == mt.V5 {
		head = append(append(head, byte(len(props))), props...)
	}
	return raw(0x10, head, slices.Concat(payload...))
}

func repeat(prop ...byte) []byte { return slices.Concat(prop, prop) }

// Every way of connecting that must not work. 3.1.1 has a code only where the
// specification gives one; 0 means closed without a word.
func TestRefusedConnects(t *testing.T) {
	s := simple(t)
	neighbour := s.join(t, mt.V5, mt.Connect{ClientID: "neighbour"})
	id := mt.Field("c")
	will := slices.Concat(mt.Field("w"), mt.Field("x"))
	const will5 = "\x00" // no will properties
	for _, x := range []struct {
		name    string
		version byte
		packet  []byte
		code    byte
	}{
		{"bytes behind the payload", mt.V311, connectRaw(4, 2, nil, id, []byte{9}), 0},
		{"bytes behind the payload", mt.V5, connectRaw(5, 2, nil, id, []byte{9}), 0x81},
		{"will QoS without will", mt.V311, connectRaw(4, 2|8, nil, id), 0},
		{"will QoS without will", mt.V5, connectRaw(5, 2|8, nil, id), 0x81},
		{"will retain without will", mt.V5, connectRaw(5, 2|32, nil, id), 0x81},
		{"will QoS 3", mt.V311, connectRaw(4, 2|4|24, nil, id, will), 0},
		{"will QoS 3", mt.V5, connectRaw(5, 2|4|24, nil, id, []byte(will5), will), 0x81},
		{"will topic with a wildcard", mt.V311, connectRaw(4, 2|4, nil, id, mt.Field("a/#"), mt.Field("")), 0},
		{"reserved flag", mt.V311, connectRaw(4, 3, nil, id), 0},
		{"password without user name", mt.V311, connectRaw(4, 2|64, nil, id, mt.Field("p")), 0},
		{"user name not UTF-8", mt.V311, connectRaw(4, 2|128, nil, id, mt.Field("\xff")), 0},
		{"user name not UTF-8", mt.V5, connectRaw(5, 2|128, nil, id, mt.Field("\xff")), 0x81},
		{"client id not UTF-8", mt.V5, connectRaw(5, 2, nil, mt.Field("\xc0\x80")), 0x81},
		{"client id with NUL", mt.V5, connectRaw(5, 2, nil, mt.Field("a\x00")), 0x81},
		{"user name missing", mt.V311, connectRaw(4, 2|128, nil, id), 0},
		{"session expiry twice", mt.V5, connectRaw(5, 2, repeat(17, 0, 0, 0, 1), id), 0x82},
		{"receive maximum twice", mt.V5, connectRaw(5, 2, repeat(33, 0, 1), id), 0x82},
		{"maximum packet size twice", mt.V5, connectRaw(5, 2, repeat(39, 0, 0, 1, 0), id), 0x82},
		{"topic alias maximum twice", mt.V5, connectRaw(5, 2, repeat(34, 0, 1), id), 0x82},
		{"authentication method twice", mt.V5, connectRaw(5, 2, repeat(21, 0, 1, 'm'), id), 0x82},
		{"will delay twice", mt.V5, connectRaw(5, 2|4, nil, id, []byte{10}, repeat(24, 0, 0, 0, 1), will), 0x82},
		{"receive maximum 0", mt.V5, connectRaw(5, 2, []byte{33, 0, 0}, id), 0x82},
		{"maximum packet size 0", mt.V5, connectRaw(5, 2, []byte{39, 0, 0, 0, 0}, id), 0x82},
		{"request response information 2", mt.V5, connectRaw(5, 2, []byte{25, 2}, id), 0x82},
		{"request problem information 2", mt.V5, connectRaw(5, 2, []byte{23, 2}, id), 0x82},
		{"authentication data without a method", mt.V5, connectRaw(5, 2, []byte{22, 0, 1, 'd'}, id), 0x82},
		{"unknown authentication method", mt.V5, connectRaw(5, 2, []byte{21, 0, 1, 'm'}, id), 0x8c},
		{"properties cut off", mt.V5, connectRaw(5, 2, []byte{17, 0}, id), 0x81},
		{"property of another packet", mt.V5, connectRaw(5, 2, []byte{35, 0, 1}, id), 0x81},
		{"level 6 as 3.1.1", mt.V311, raw(0x10, mt.Field("MQTT"), []byte{6, 2, 0, 30}, id), 1},
		{"level 3", mt.V311, raw(0x10, mt.Field("MQIsdp"), []byte{3, 2, 0, 30}, id), 1},
		{"level 6 as 5.0", mt.V5, raw(0x10, mt.Field("MQTT"), []byte{6, 2, 0, 30, 0}, id), 0x84},
		{"another protocol", mt.V311, raw(0x10, mt.Field("HTTP"), []byte{4, 2, 0, 30}, id), 0},
		{"no client id, session kept", mt.V311, connectRaw(4, 0, nil, mt.Field("")), 2},
		{"first packet is PINGREQ", mt.V311, []byte{0xc0, 0}, 0},
		{"first packet is PUBLISH", mt.V311, mt.Publish{Topic: "t"}.Bytes(mt.V311), 0},
		{"remaining length of five bytes", mt.V311, []byte{0x10, 0x80, 0x80, 0x80, 0x80, 1}, 0},
		{"CONNECT larger than allowed", mt.V311, []byte{0x10, 0xff, 0xff, 0x7f}, 0},
		{"bad credentials", mt.V311, mt.Connect{ClientID: "c", Username: "refused"}.Bytes(mt.V311), 5},
		{"bad credentials", mt.V5, mt.Connect{ClientID: "c", Username: "refused"}.Bytes(mt.V5), 0x87},
		{"too many attempts", mt.V5, mt.Connect{ClientID: "c", Username: "throttled"}.Bytes(mt.V5), 0x89},
		{"the guard panics", mt.V5, mt.Connect{ClientID: "c", Username: "panic"}.Bytes(mt.V5), 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := mt.Dial(t, s.addr, mt.Version(x.version))
			c.Send(x.packet...)
			if code := c.ExpectRefused(); code != x.code {
				t.Errorf("code %#x, want %#x", code, x.code)
			}
			neighbour.Ping()
		})
	}
	if s.Stats().Panics.Load() != 1 {
		t.Errorf("%d panics", s.Stats().Panics.Load())
	}
}

// Legal, though the library refuses or misreads it.
func TestAcceptedConnects(t *testing.T) {
	s := simple(t)
	id := mt.Field("c")
	for _, packet := range [][]byte{
		connectRaw(5, 2|64, nil, id, mt.Field("p")),                                 // a password alone
		connectRaw(4, 2|64|128, nil, id, mt.Field("u"), mt.Field("")),               // an empty password
		connectRaw(4, 2|4, nil, id, mt.Field("w"), mt.Field("")),                    // an empty will
		connectRaw(5, 2, []byte{38, 0, 1, 'a', 0, 1, 'b', 38, 0, 1, 'a', 0, 0}, id), // user properties repeat
		connectRaw(5, 0, nil, mt.Field("")),                                         // no client id in 5.0
	} {
		v := packet[8]
		c := mt.Dial(t, s.addr, mt.Version(v))
		c.Send(packet...)
		if p := c.Expect(mt.CONNACK); p.Code != 0 {
			t.Errorf("% x: %s", packet, p)
		}
		c.Disconnect()
	}
}

func TestAssignedClientID(t *testing.T) {
	s := simple(t)
	c := mt.Dial(t, s.addr, mt.Version(mt.V5))
	id, ok := c.Connect(mt.Connect{}).Prop(mt.AssignedClientID)
	if !ok || id.Text == "" {
		t.Fatal("no client id was assigned")
	}
	// It is a client id like any other: who connects with it takes over.
	s.join(t, mt.V5, mt.Connect{ClientID: id.Text})
	if code := c.ExpectRefused(); code != 0x8e {
		t.Errorf("code %#x", code)
	}
	old := mt.Dial(t, s.addr)
	if p := old.Connect(mt.Connect{}); p.SessionPresent {
		t.Errorf("got %s", p)
	}
}

// Every packet of a connected client that must end its connection.
func TestIllegalPackets(t *testing.T) {
	s := simple(t)
	neighbour := s.join(t, mt.V5, mt.Connect{ClientID: "neighbour"})
	subscribe := func(props []byte, filter string, options ...byte) []byte {
		return raw(0x82, []byte{0, 1, byte(len(props))}, props, mt.Field(filter), options)
	}
	publish := func(flags byte, topic string, props []byte) []byte {
		id := []byte{}
		if flags&6 != 0 {
			id = []byte{0, 1}
		}
		return raw(0x30|flags, mt.Field(topic), id, []byte{byte(len(props))}, props, []byte("x"))
	}
	ack := func(first byte, body ...byte) []byte { return raw(first, body) }
	for _, x := range []struct {
		name   string
		packet []byte
		code   byte // what 5.0 is told
	}{
		{"SUBSCRIBE without options byte", subscribe(nil, "a"), 0x81},
		{"SUBSCRIBE without filter", raw(0x82, []byte{0, 1, 0}), 0x82},
		{"SUBSCRIBE with packet id 0", raw(0x82, []byte{0, 0, 0}, mt.Field("a"), []byte{0}), 0x82},
		{"SUBSCRIBE with wrong flags", raw(0x80, []byte{0, 1, 0}, mt.Field("a"), []byte{0}), 0x81},
		{"filter a#", subscribe(nil, "a#", 0), 0x81},
		{"filter a+/b", subscribe(nil, "a+/b", 0), 0x81},
		{"filter +a", subscribe(nil, "+a", 0), 0x81},
		{"filter #/a", subscribe(nil, "#/a", 0), 0x81},
		{"empty filter", subscribe(nil, "", 0), 0x81},
		{"reserved option bits", subscribe(nil, "a", 0x40), 0x81},
		{"retain handling 3", subscribe(nil, "a", 0x30), 0x82},
		{"QoS 3 asked for", subscribe(nil, "a", 3), 0x82},
		{"No Local on a shared subscription", subscribe(nil, "$share/g/a", 4), 0x82},
		{"subscription identifier 0", subscribe([]byte{11, 0}, "a", 0), 0x82},
		{"subscription identifier twice", subscribe([]byte{11, 1, 11, 2}, "a", 0), 0x82},
		{"shared without a group", subscribe(nil, "$share//t", 0), 0x81},
		{"shared without a filter", subscribe(nil, "$share/g/", 0), 0x81},
		{"shared group with a wildcard", subscribe(nil, "$share/+/t", 0), 0x81},
		{"UNSUBSCRIBE with an empty filter", raw(0xa2, []byte{0, 1, 0}, mt.Field("")), 0x81},
		{"UNSUBSCRIBE without filter", raw(0xa2, []byte{0, 1, 0}), 0x82},
		{"response topic with a wildcard", publish(0, "t", []byte{8, 0, 1, '+'}), 0x82},
		{"topic alias twice", publish(0, "t", repeat(35, 0, 1)), 0x82},
		{"content type twice", publish(0, "t", repeat(3, 0, 1, 'x')), 0x82},
		{"message expiry twice", publish(0, "t", repeat(2, 0, 0, 0, 1)), 0x82},
		{"subscription identifier from a client", publish(0, "t", []byte{11, 1}), 0x82},
		{"topic alias 0", publish(0, "t", []byte{35, 0, 0}), 0x94},
		{"topic alias above the maximum", publish(0, "t", []byte{35, 0xff, 0xff}), 0x94},
		{"unknown alias without topic", publish(0, "", []byte{35, 0, 1}), 0x82},
		{"no topic and no alias", publish(0, "", nil), 0x82},
		{"property cut off", publish(0, "t", []byte{3, 0, 9}), 0x81},
		{"payload format 2", publish(0, "t", []byte{1, 2}), 0x82},
		{"topic with a wildcard", publish(0, "a/+", nil), 0x90},
		{"topic not UTF-8", publish(0, "\xff", nil), 0x81},
		{"topic with NUL", publish(0, "a\x00b", nil), 0x81},
		{"DUP at QoS 0", publish(8, "t", nil), 0x82},
		{"PUBLISH with QoS 3", publish(6, "t", nil), 0x81},
		{"PUBLISH with packet id 0", raw(0x32, mt.Field("t"), []byte{0, 0, 0}), 0x82},
		{"PUBACK with packet id 0", ack(0x40, 0, 0), 0x82},
		{"PUBACK with wrong flags", ack(0x41, 0, 1), 0x81},
		{"PUBACK with an undefined code", ack(0x40, 0, 1, 0x42), 0x82},
		{"PUBACK with extra bytes", ack(0x40, 0, 1, 0, 0, 9), 0x81},
		{"PUBREL with wrong flags", ack(0x60, 0, 1), 0x81},
		{"PUBCOMP with a code of PUBACK", ack(0x70, 0, 1, 0x97), 0x82},
		{"PINGREQ with a body", raw(0xc0, []byte{0}), 0x81},
		{"AUTH without a method", raw(0xf0, []byte{0x18, 0}), 0x82},
		{"DISCONNECT raises the session expiry", raw(0xe0, []byte{0, 5, 17, 0, 0, 0, 9}), 0x82},
		{"DISCONNECT with a server's code", raw(0xe0, []byte{0x8b}), 0x82},
		{"second CONNECT", mt.Connect{ClientID: "c"}.Bytes(mt.V5), 0x82},
		{"CONNACK from a client", raw(0x20, []byte{0, 0, 0}), 0x82},
		{"SUBACK from a client", raw(0x90, []byte{0, 1, 0, 0}), 0x82},
		{"UNSUBACK from a client", raw(0xb0, []byte{0, 1, 0, 0}), 0x82},
		{"PINGRESP from a client", raw(0xd0), 0x82},
		{"packet type 0", raw(0x00), 0x81},
		{"remaining length of five bytes", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, 0x81},
		{"remaining length too long for its value", []byte{0xc0, 0x80, 0}, 0x81},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
			c.Send(x.packet...)
			if code := c.ExpectRefused(); code != x.code {
				t.Errorf("code %#x, want %#x", code, x.code)
			}
			neighbour.Ping()
		})
	}
}

// The same for 3.1.1, whose server has no words: the connection ends.
func TestIllegalPackets311(t *testing.T) {
	s := simple(t)
	neighbour := s.join(t, mt.V5, mt.Connect{ClientID: "neighbour"})
	for name, packet := range map[string][]byte{
		"filter a#":                      raw(0x82, []byte{0, 1}, mt.Field("a#"), []byte{0}),
		"filter a+/b":                    raw(0x82, []byte{0, 1}, mt.Field("a+/b"), []byte{0}),
		"filter +a":                      raw(0x82, []byte{0, 1}, mt.Field("+a"), []byte{0}),
		"reserved bits of the QoS":       raw(0x82, []byte{0, 1}, mt.Field("a"), []byte{4}),
		"SUBSCRIBE without options byte": raw(0x82, []byte{0, 1}, mt.Field("a")),
		"PUBACK with extra bytes":        raw(0x40, []byte{0, 1, 0}),
		"PINGREQ with a body":            raw(0xc0, []byte{0}),
		"DISCONNECT with a body":         raw(0xe0, []byte{0}),
		"AUTH":                           raw(0xf0),
		"second CONNECT":                 mt.Connect{ClientID: "c"}.Bytes(mt.V311),
		"empty topic":                    raw(0x30, mt.Field(""), []byte("x")),
	} {
		t.Run(name, func(t *testing.T) {
			c := s.join(t, mt.V311, mt.Connect{ClientID: "c"})
			c.Send(packet...)
			if got := c.ExpectClosed(); len(got) > 0 {
				t.Errorf("got %v", got)
			}
			neighbour.Ping()
		})
	}
}

func TestWrongAcknowledgementType(t *testing.T) {
	s := simple(t)
	pub := s.join(t, mt.V5, mt.Connect{ClientID: "pub"})
	for _, x := range []struct{ qos, answer byte }{{1, mt.PUBREC}, {1, mt.PUBCOMP}, {2, mt.PUBACK}, {2, mt.PUBCOMP}} {
		c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
		c.Subscribe("t", 2)
		pub.Publish(mt.Publish{Topic: "t", QoS: x.qos})
		c.Ack(x.answer, c.Expect(mt.PUBLISH).ID)
		if code := c.ExpectRefused(); code != 0x82 {
			t.Errorf("QoS %d answered with type %d: code %#x", x.qos, x.answer, code)
		}
	}
}

func TestTakeover(t *testing.T) {
	bothVersions(t, func(t *testing.T, v byte) {
		s := simple(t)
		old := s.join(t, v, forever(v, "c"))
		old.Subscribe("t", 1)
		next := mt.Dial(t, s.addr, mt.Version(v))
		if p := next.Connect(forever(v, "c")); !p.SessionPresent {
			t.Error("the session did not pass on")
		}
		got := old.ExpectClosed()
		if v == mt.V311 && len(got) > 0 || v == mt.V5 && (len(got) != 1 || got[0].Code != 0x8e) {
			t.Errorf("the old connection got %v", got)
		}
		next.Publish(mt.Publish{Topic: "t", QoS: 1})
		next.Receive()
		// Another identity can neither take over nor resume.
		thief := forever(v, "c")
		thief.Username = "thief"
		want := map[byte]byte{mt.V311: 2, mt.V5: 0x85}[v]
		for range 2 {
			if p := mt.Dial(t, s.addr, mt.Version(v)).TryConnect(thief); p.Code != want {
				t.Errorf("thief: %s", p)
			}
			next.Ping()
		}
		next.Close()
		if p := mt.Dial(t, s.addr, mt.Version(v)).TryConnect(thief); p.Code != want {
			t.Errorf("thief of a kept session: %s", p)
		}
	})
}

// A client comes back while the write to its dead connection is stuck.
func TestTakeoverOfAStuckConnection(t *testing.T) {
	s := simple(t)
	stuck := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	stuck.Subscribe("t", 0)
	pub := s.join(t, mt.V5, mt.Connect{ClientID: "pub"})
	body := strings.Repeat("x", 200<<10)
	for range 60 {
		pub.Publish(mt.Publish{Topic: "t", Payload: body, QoS: 1})
	}
	start := time.Now()
	s.join(t, mt.V5, mt.Connect{ClientID: "c"})
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the new connection waited %v for the old one", took)
	}
}

func TestEndOfCredentials(t *testing.T) {
	s := simple(t)
	c := s.join(t, mt.V5, mt.Connect{ClientID: "c", Username: "short-lived"})
	if code := c.ExpectRefused(); code != 0x87 {
		t.Errorf("code %#x", code)
	}
}

func TestKeepAlive(t *testing.T) {
	bothVersions(t, func(t *testing.T, v byte) {
		s := simple(t)
		c := s.join(t, v, mt.Connect{ClientID: "c", KeepAlive: 1})
		got := c.ExpectClosed()
		if v == mt.V311 && len(got) > 0 || v == mt.V5 && (len(got) != 1 || got[0].Code != 0x8d) {
			t.Errorf("got %v", got)
		}
	})
}

func TestMaximumConnections(t *testing.T) {
	s := start(t, broker.Config{MaxConnections: 2}, deps(t))
	a, b := s.join(t, mt.V5, mt.Connect{ClientID: "a"}), s.join(t, mt.V5, mt.Connect{ClientID: "b"})
	mt.Dial(t, s.addr).ExpectClosed()
	a.Disconnect()
	b.Ping()
	until(t, "a connection fits again", func() bool {
		c := mt.Dial(t, s.addr)
		if c.Write(mt.Connect{ClientID: "c"}.Bytes(mt.V311)) != nil {
			return false
		}
		_, err := c.Read()
		return err == nil
	})
}

func TestConnectTimeout(t *testing.T) {
	s := start(t, broker.Config{ConnectTimeout: 50 * time.Millisecond}, deps(t))
	c := mt.Dial(t, s.addr)
	c.Send(0x10, 20)
	c.ExpectClosed()
}

func TestShutdownTellsWhy(t *testing.T) {
	s := simple(t)
	c, old := s.join(t, mt.V5, mt.Connect{ClientID: "c"}), s.join(t, mt.V311, mt.Connect{ClientID: "old"})
	silent := mt.Dial(t, s.addr) // has not said CONNECT yet
	started := time.Now()
	s.stop()
	if code := c.ExpectRefused(); code != 0x8b {
		t.Errorf("code %#x", code)
	}
	if got := append(old.ExpectClosed(), silent.ExpectClosed()...); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("shutdown took %v", took)
	}
}

func TestReceiveMaximumOfTheServer(t *testing.T) {
	a := newScripted()
	d := deps(t)
	d.Acceptor = a
	s := start(t, broker.Config{ReceiveMaximum: 3}, d)
	c := mt.Dial(t, s.addr, mt.Version(mt.V5))
	if p, _ := c.Connect(mt.Connect{ClientID: "c"}).Prop(mt.ReceiveMaximum); p.Num != 3 {
		t.Errorf("announced %d", p.Num)
	}
	for round := range 3 { // the quota comes back
		for i := range 3 {
			c.Send(mt.Publish{Topic: "t", QoS: byte(1 + i%2), ID: uint16(i + 1)}.Bytes(mt.V5)...)
		}
		for _, b := range a.take(t, 3) {
			finish(b, nil)
		}
		c.Expect(mt.PUBACK)
		c.Expect(mt.PUBREC)
		c.Expect(mt.PUBACK)
		c.Ack(mt.PUBREL, 2)
		if p := c.Expect(mt.PUBCOMP); p.Code != 0 {
			t.Fatalf("round %d: %s", round, p)
		}
	}
	for i := range 4 {
		c.Send(mt.Publish{Topic: "t", QoS: 1, ID: uint16(i + 1)}.Bytes(mt.V5)...)
	}
	if code := c.ExpectRefused(); code != 0x93 {
		t.Errorf("code %#x", code)
	}
}

// What the client goes on sending must not reset the connection before it has
// read why it ends.
func TestReasonIsNotLostToWhatStillComes(t *testing.T) {
	s := simple(t)
	for range 5 {
		c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
		rest := mt.Publish{Topic: "t", Payload: strings.Repeat("x", 60_000)}.Bytes(mt.V5)
		if err := c.Write(append(raw(0xc0, []byte{0}), slices.Repeat(rest, 50)...)); err != nil {
			t.Fatal(err)
		}
		if code := c.ExpectRefused(); code != 0x81 {
			t.Errorf("code %#x", code)
		}
	}
}
