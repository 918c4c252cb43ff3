package mqtttest

import (
	"io"
	"net"
	"testing"

	"github.com/gorilla/websocket"
)

// DialWS opens an MQTT connection over a WebSocket: url is ws:// or wss://.
// The WebSocket library cannot read on after a deadline: ExpectNothing must be its last read.
func DialWS(t testing.TB, url string, opts ...Option) *Client {
	t.Helper()
	o := collect(opts)
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: o.timeout, TLSClientConfig: o.tls}
	ws, resp, err := d.Dial(url, nil)
	if err != nil {
		t.Fatalf("dial %s: %v", url, err)
	}
	resp.Body.Close()
	if ws.Subprotocol() != "mqtt" {
		t.Fatalf("dial %s: subprotocol %q, want mqtt (MQTT-6.0.0-4)", url, ws.Subprotocol())
	}
	return New(t, &wsConn{Conn: ws.NetConn(), ws: ws}, opts...)
}

// wsConn is the byte stream in a WebSocket's binary messages, whose boundaries
// mean nothing to MQTT (MQTT-6.0.0-2).
type wsConn struct {
	net.Conn // deadlines, addresses
	ws       *websocket.Conn
	rest     []byte // of the message being read
}

func (c *wsConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		_, b, err := c.ws.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseAbnormalClosure, websocket.CloseNoStatusReceived) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		c.rest = b
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
