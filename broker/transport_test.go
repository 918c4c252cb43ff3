package broker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/identity"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
)

// certificate makes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// watching notes what the guard is told about a client's connection.
type watching struct {
	guard
	seen chan *identity.Connect
}

func (g watching) Authenticate(c *identity.Connect) (*identity.Principal, error) {
	g.seen <- c
	return g.guard.Authenticate(c)
}

func exchange(t *testing.T, c *mt.Client) {
	t.Helper()
	c.Connect(mt.Connect{ClientID: "c"})
	c.Subscribe("t", 2)
	big := strings.Repeat("x", 100_000)
	for qos := byte(0); qos < 3; qos++ {
		c.Publish(mt.Publish{Topic: "t", Payload: big, QoS: qos})
		if p := c.Receive(); string(p.Payload) != big || p.QoS != qos {
			t.Errorf("QoS %d: %d bytes came back with QoS %d", qos, len(p.Payload), p.QoS)
		}
	}
	c.Send(mt.Bytes(0x82, []byte{0, 1, 0}, mt.Field("a"))...) // illegal
	if code := c.ExpectRefused(); code != 0x81 {
		t.Errorf("code %#x", code)
	}
}

func TestTransports(t *testing.T) {
	server, serverPool := certificate(t, "hub")
	client, clientPool := certificate(t, "device")
	secure := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clientPool}
	g := watching{seen: make(chan *identity.Connect, 16)}
	d := deps(t)
	d.Guard = g
	s := start(t, broker.Config{Listeners: []broker.Listener{
		{Name: "tls", Address: "127.0.0.1:0", TLS: secure},
		{Name: "ws", Address: "127.0.0.1:0", WebSocket: true},
		{Name: "wss", Address: "127.0.0.1:0", WebSocket: true, TLS: secure},
	}}, d)
	trust := &tls.Config{RootCAs: serverPool, Certificates: []tls.Certificate{client}}
	at := func(name string) string { return s.Addr(name).String() }
	for name, dial := range map[string]func(t *testing.T) *mt.Client{
		"tls": func(t *testing.T) *mt.Client { return mt.Dial(t, at("tls"), mt.Version(mt.V5), mt.TLS(trust)) },
		"ws":  func(t *testing.T) *mt.Client { return mt.DialWS(t, "ws://"+at("ws")+"/mqtt", mt.Version(mt.V5)) },
		"wss": func(t *testing.T) *mt.Client {
			return mt.DialWS(t, "wss://"+at("wss")+"/", mt.Version(mt.V5), mt.TLS(trust))
		},
	} {
		t.Run(name, func(t *testing.T) {
			exchange(t, dial(t))
			c := <-g.seen
			if c.Listener != name || !c.Loopback {
				t.Errorf("the guard saw %+v", c)
			}
			if secure := name != "ws"; secure != (len(c.Certificates) == 1 && len(c.VerifiedChains) == 1) {
				t.Errorf("%d certificates, %d chains", len(c.Certificates), len(c.VerifiedChains))
			}
			// A keep alive ends as on a plain socket.
			late := dial(t)
			late.Connect(mt.Connect{ClientID: "late", KeepAlive: 1})
			if code := late.ExpectRefused(); code != 0x8d {
				t.Errorf("keep alive: %#x", code)
			}
			<-g.seen
		})
	}
	t.Run("plain bytes to tls", func(t *testing.T) {
		c := mt.Dial(t, at("tls"))
		c.Send(mt.Connect{ClientID: "c"}.Bytes(mt.V311)...)
		for err := error(nil); err == nil; { // an alert, then the end
			_, err = c.Conn().Read(make([]byte, 64))
		}
	})
}

func TestWebSocketManners(t *testing.T) {
	s := start(t, broker.Config{Listeners: []broker.Listener{
		{Name: "ws", Address: "127.0.0.1:0", WebSocket: true, Origins: []string{"https://good.example"}},
	}}, deps(t))
	dial := func(protocol, origin string) (*websocket.Conn, int) {
		d := websocket.Dialer{HandshakeTimeout: 5 * time.Second}
		if protocol != "" {
			d.Subprotocols = []string{protocol}
		}
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		ws, resp, err := d.Dial("ws://"+s.addr, h)
		if err != nil {
			return nil, resp.StatusCode
		}
		t.Cleanup(func() { ws.Close() })
		return ws, resp.StatusCode
	}
	for _, x := range []struct {
		protocol, origin string
		status           int
	}{
		{"mqtt", "", 101}, {"", "", 426}, {"chat", "", 426}, {"mqtt", "https://good.example", 101},
		{"mqtt", "http://" + s.addr, 101}, {"mqtt", "https://evil.example", 403},
	} {
		if _, status := dial(x.protocol, x.origin); status != x.status {
			t.Errorf("protocol %q, origin %q: %d, want %d", x.protocol, x.origin, status, x.status)
		}
	}
	ws, _ := dial("mqtt", "")
	if err := ws.WriteMessage(websocket.TextMessage, mt.Connect{ClientID: "c"}.Bytes(mt.V311)); err != nil {
		t.Fatal(err)
	}
	if kind, b, err := ws.ReadMessage(); err == nil { // MQTT-6.0.0-1
		t.Errorf("a text frame was answered with %d % x", kind, b)
	}
	// Packets need not align with frames.
	ws, _ = dial("mqtt", "")
	for _, b := range append(mt.Connect{ClientID: "c"}.Bytes(mt.V311), 0xc0, 0) {
		if err := ws.WriteMessage(websocket.BinaryMessage, []byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	for len(got) < 6 {
		_, b, err := ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	if got[0] != 0x20 || got[4] != 0xd0 {
		t.Errorf("got % x", got)
	}
}
