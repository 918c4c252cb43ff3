package mqtttest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
)

// pair returns a client and the server's end of its connection, driven by a
// second Client: both directions are the same codec.
func pair(t *testing.T, opts ...Option) (client, server *Client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client = Dial(t, l.Addr().String(), opts...)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, New(t, conn, opts...)
}

// serve answers packets in the background until the connection ends; the
// returned channel tells how it ended.
func serve(server *Client, answer func(Packet) []byte) <-chan error {
	done := make(chan error, 1)
	go func() {
		for {
			p, err := server.Read()
			if err == nil {
				err = server.Write(answer(p))
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	return done
}

func TestKnownBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"connect 3.1.1", Connect{ClientID: "ab", KeepAlive: 10}.Bytes(V311), "\x10\x0e\x00\x04MQTT\x04\x02\x00\x0a\x00\x02ab"},
		{"connect 5", Connect{ClientID: "a", Keep: true, Username: "u", Password: "p", Props: []Prop{Num(ReceiveMaximum, 5)},
			Will: &Publish{Topic: "w", Payload: "x", QoS: 1, Retain: true}, WillProps: []Prop{Num(WillDelay, 1)}}.Bytes(V5),
			"\x10\x23\x00\x04MQTT\x05\xec\x00\x00\x03\x21\x00\x05\x00\x01a\x05\x18\x00\x00\x00\x01\x00\x01w\x00\x01x\x00\x01u\x00\x01p"},
		{"publish qos 0", Publish{Topic: "t", Payload: "x"}.Bytes(V311), "\x30\x04\x00\x01tx"},
		{"publish qos 2", Publish{Topic: "t", QoS: 2, ID: 258, Dup: true, Retain: true}.Bytes(V5), "\x3d\x06\x00\x01t\x01\x02\x00"},
		{"pubrel", Ack(V311, PUBREL, 1, 0x92), "\x62\x02\x00\x01"},
		{"pubrel 5", Ack(V5, PUBREL, 1, 0x92), "\x62\x03\x00\x01\x92"},
		{"two length bytes", Bytes(0x30, make([]byte, 200))[:3], "\x30\xc8\x01"},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s: % x, want % x", c.name, c.got, c.want)
		}
	}
}

func TestServerPacketsDecode(t *testing.T) {
	props := []Prop{Num(TopicAliasMaximum, 7), Text(ReasonString, "why"), User("a", "1"), User("a", "2"), Num(SessionExpiry, 9)}
	for _, c := range []struct {
		name string
		b    []byte
		want Packet
	}{
		{"connack", Bytes(0x20, []byte{1, 0}, Section(props...)), Packet{Type: CONNACK, SessionPresent: true, Props: props}},
		{"suback", Bytes(0x90, []byte{0, 3}, Section(), []byte{1, 0x87}), Packet{Type: SUBACK, ID: 3, Codes: []byte{1, 0x87}}},
		{"puback", Bytes(0x40, []byte{0, 3}), Packet{Type: PUBACK, ID: 3}},
		{"disconnect", Bytes(0xe0, []byte{0x8e}), Packet{Type: DISCONNECT, Code: 0x8e}},
		{"publish", Publish{Topic: "t", Payload: "x", QoS: 1, ID: 4, Props: []Prop{Num(SubscriptionID, 1), Num(SubscriptionID, 300)}}.Bytes(V5),
			Packet{Type: PUBLISH, Flags: 2, Topic: "t", Payload: []byte("x"), QoS: 1, ID: 4, Props: []Prop{Num(SubscriptionID, 1), Num(SubscriptionID, 300)}}},
	} {
		client, server := pair(t, Version(V5))
		server.Send(c.b...)
		got := client.Expect(c.want.Type)
		got.Body = nil
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
	}
	p := Packet{Props: props}
	if q, ok := p.Prop(UserProperty); !ok || q.Text != "1" || len(p.All(UserProperty)) != 2 {
		t.Errorf("user properties: %v %v", q, ok)
	}
}

func TestWrongServerPacketsAreErrors(t *testing.T) {
	for name, b := range map[string][]byte{
		"flags":                  {0x41, 2, 0, 1},
		"too long":               Bytes(0x40, []byte{0, 1, 0, 0, 9}),
		"half an id":             {0x40, 1, 0},
		"QoS 3":                  Bytes(0x36, Field("t"), []byte{0, 1, 0}),
		"QoS 1 without id":       Bytes(0x32, Field("t"), []byte{0, 0, 0}),
		"property twice":         Bytes(0x20, []byte{0, 0}, Section(Num(ReceiveMaximum, 1), Num(ReceiveMaximum, 1))),
		"unknown property":       Bytes(0x20, []byte{0, 0}, Section(Prop{ID: 99})),
		"property cut off":       Bytes(0x20, []byte{0, 0, 2, ReceiveMaximum, 0}),
		"property not UTF-8":     Bytes(0x20, []byte{0, 0}, Section(Text(ReasonString, "\xff"))),
		"connack flags":          Bytes(0x20, []byte{2, 0, 0}),
		"PINGRESP with a body":   {0xd0, 1, 0},
		"endless remaining":      {0x30, 0x80, 0x80, 0x80, 0x80},
		"section longer than it": Bytes(0x20, []byte{0, 0, 0xff, 0xff, 0xff, 0x7f}),
	} {
		client, server := pair(t, Version(V5))
		server.Send(b...)
		if p, err := client.Read(); err == nil {
			t.Errorf("%s: decoded as %s", name, p)
		}
	}
}

func TestFlows(t *testing.T) {
	client, server := pair(t)
	var seen []string
	done := serve(server, func(p Packet) []byte {
		seen = append(seen, typeNames[p.Type])
		switch p.Type {
		case CONNECT:
			return []byte{0x20, 2, 0, 0}
		case SUBSCRIBE: // a retained message overtakes the answer
			return slices.Concat(Publish{Topic: "r", QoS: 1, ID: 9}.Bytes(V311), []byte{0x90, 3, p.Body[0], p.Body[1], p.Body[len(p.Body)-1]})
		case UNSUBSCRIBE:
			return []byte{0xb0, 2, p.Body[0], p.Body[1]}
		case PUBLISH:
			return Ack(V311, PUBACK+p.QoS-1, p.ID, 0)
		case PUBREL:
			return Ack(V311, PUBCOMP, p.ID, 0)
		case PINGREQ:
			return []byte{0xd0, 0}
		}
		return nil
	})
	client.Connect(Connect{ClientID: "c"})
	client.Subscribe("r", 2)
	client.Publish(Publish{Topic: "t", QoS: 1})
	if p := client.Receive(); p.Topic != "r" || p.ID != 9 {
		t.Errorf("retained message: %s", p)
	}
	client.Publish(Publish{Topic: "t", QoS: 2})
	client.Unsubscribe("r")
	client.Ping()
	client.ExpectNothing(time.Millisecond)
	client.Close()
	if err := <-done; !errors.Is(err, io.EOF) {
		t.Errorf("the server's end: %v", err)
	}
	want := "CONNECT SUBSCRIBE PUBLISH PUBACK PUBLISH PUBREL UNSUBSCRIBE PINGREQ"
	if got := strings.Join(seen, " "); got != want {
		t.Errorf("the server saw %s, want %s", got, want)
	}
}

func TestPipelineCountsAndKeepsTheWindow(t *testing.T) {
	client, server := pair(t, Version(V5))
	const n, window = 5000, 64
	unacked, most, held := 0, 0, []byte(nil)
	serve(server, func(p Packet) []byte {
		unacked++
		most = max(most, unacked)
		code := byte(0)
		if p.Topic == "refuse" {
			code = 0x97
		}
		held = append(held, Ack(V5, PUBACK, p.ID, code)...)
		if unacked < window/2 { // answer in lumps, the last by one
			if server.r.Buffered() > 0 {
				return nil
			}
		}
		unacked = 0
		defer func() { held = held[:0] }()
		return held
	})
	told := make([]byte, n)
	good, err := client.Pipeline(n, window, func(i int) Publish {
		if i%100 == 0 {
			return Publish{Topic: "refuse"}
		}
		return Publish{Topic: "t", Payload: "x"}
	}, func(i int, code byte) { told[i] = code | 1 })
	if err != nil || good != n-n/100 {
		t.Errorf("%d good of %d, %v", good, n, err)
	}
	if bytes.IndexByte(told, 0) >= 0 || told[100] != 0x97 || told[101] != 1 {
		t.Error("the acknowledgements were not told one by one")
	}
	if most > window {
		t.Errorf("%d in flight with a window of %d", most, window)
	}
}

func TestPipelineTellsHowItEnded(t *testing.T) {
	client, server := pair(t)
	count := 0
	serve(server, func(p Packet) []byte {
		if count++; count == 10 {
			server.Close()
		}
		return Ack(V311, PUBACK, p.ID, 0)
	})
	good, err := client.Pipeline(100, 1, func(int) Publish { return Publish{Topic: "t"} }, nil)
	if good != 9 || err == nil {
		t.Errorf("%d acknowledged, %v", good, err)
	}
}

func TestEnds(t *testing.T) {
	client, server := pair(t, Version(V5), Timeout(20*time.Millisecond))
	if _, err := client.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
	server.Send(slices.Concat(Publish{Topic: "t"}.Bytes(V5), []byte{0xe0, 1, 0x81})...)
	server.Close()
	if code := client.ExpectRefused(); code != 0x81 {
		t.Errorf("refused with %#x", code)
	}
	client, server = pair(t)
	server.Reset()
	if before := client.ExpectClosed(); len(before) != 0 {
		t.Errorf("before the reset: %v", before)
	}
}

func TestWebSocket(t *testing.T) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		if _, b, err := ws.ReadMessage(); err != nil || b[0] != 0x10 {
			return
		}
		for _, part := range [][]byte{{0x20}, {2, 0}, {0, 0xd0, 0}} { // packets do not respect messages
			if err := ws.WriteMessage(websocket.BinaryMessage, part); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	c := DialWS(t, "ws"+strings.TrimPrefix(server.URL, "http"))
	c.Connect(Connect{})
	c.Expect(PINGRESP)
	c.ExpectClosed()
}

func FuzzDecode(f *testing.F) {
	f.Add(V5, byte(0x32), Publish{Topic: "t", QoS: 1, ID: 1, Props: []Prop{User("a", "b"), Num(TopicAlias, 1)}}.Bytes(V5)[2:])
	f.Add(V5, byte(0x20), slices.Concat([]byte{0, 0}, Section(Num(ReceiveMaximum, 9), Text(ReasonString, "r"))))
	f.Add(V311, byte(0x90), []byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, version, first byte, body []byte) {
		p, err := Decode(version, first, body)
		if err != nil || p.Type != PUBLISH {
			return
		}
		m := Publish{Topic: p.Topic, Payload: string(p.Payload), QoS: p.QoS, Retain: p.Retain, Dup: p.Dup, ID: p.ID, Props: p.Props}
		b := m.Bytes(version)
		head := 2
		for b[head-1] >= 0x80 {
			head++
		}
		again, err := Decode(version, b[0], b[head:])
		again.Body, p.Body = nil, nil
		if diff := cmp.Diff(p, again); err != nil || diff != "" {
			t.Fatalf("came back changed: %v\n%s", err, diff)
		}
	})
}
