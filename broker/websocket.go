package broker

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// upgrade turns an HTTP request into an MQTT connection. The sub-protocol
// "mqtt" is required (MQTT-6.0.0-3).
func (l *listener) upgrade(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(websocket.Subprotocols(r), "mqtt") {
		http.Error(w, `this is an MQTT endpoint: connect by WebSocket with the sub-protocol "mqtt"`, http.StatusUpgradeRequired)
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}, CheckOrigin: l.originAllowed}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	l.serve(&wsConn{ws: ws})
}

// originAllowed keeps web pages of other hosts out: a browser sends Origin,
// programs do not.
func (l *listener) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(l.cfg.Origins, "*") || slices.Contains(l.cfg.Origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// wsConn presents the binary frames of a WebSocket as one byte stream; packets
// need not align with frames (MQTT-6.0.0-2).
type wsConn struct {
	ws    *websocket.Conn
	r     io.Reader
	limit atomic.Pointer[time.Time] // for the next write
}

func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.r == nil {
			kind, r, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage { // MQTT-6.0.0-1
				return 0, errTextFrame
			}
			c.r = r
		}
		n, err := c.r.Read(p)
		if err == io.EOF {
			c.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *wsConn) Write(p []byte) (int, error) {
	if t := c.limit.Load(); t != nil {
		_ = c.ws.SetWriteDeadline(*t) // never fails
	}
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite says goodbye in the WebSocket's own words.
func (c *wsConn) CloseWrite() error {
	return c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
}

// SetWriteDeadline also ends a write that is under way; the WebSocket's own
// deadline is the writer's and counts from the next write on.
func (c *wsConn) SetWriteDeadline(t time.Time) error {
	c.limit.Store(&t)
	return c.ws.NetConn().SetWriteDeadline(t)
}

func (c *wsConn) Close() error                      { return c.ws.Close() }
func (c *wsConn) LocalAddr() net.Addr               { return c.ws.LocalAddr() }
func (c *wsConn) RemoteAddr() net.Addr              { return c.ws.RemoteAddr() }
func (c *wsConn) SetDeadline(t time.Time) error     { return c.ws.NetConn().SetDeadline(t) }
func (c *wsConn) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }
