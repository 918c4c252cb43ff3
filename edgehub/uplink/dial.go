package uplink

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/websocket"
)

// dial opens the transport that the address's scheme names.
func (u *Uplink) dial(ctx context.Context, to *url.URL) (net.Conn, error) {
	var d net.Dialer
	if to.Scheme == "mqtt" {
		return d.DialContext(ctx, "tcp", to.Host)
	}
	cfg, err := u.cfg.TLS.load()
	if err != nil {
		return nil, err
	}
	if cfg.ServerName == "" {
		cfg.ServerName = to.Hostname()
	}
	if to.Scheme == "mqtts" {
		t := tls.Dialer{NetDialer: &d, Config: cfg}
		return t.DialContext(ctx, "tcp", to.Host)
	}
	return dialWebSocket(ctx, to, cfg)
}

func dialWebSocket(ctx context.Context, to *url.URL, cfg *tls.Config) (net.Conn, error) {
	d := websocket.Dialer{Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg, Subprotocols: []string{"mqtt"}}
	ws, resp, err := d.DialContext(ctx, to.String(), nil)
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("websocket handshake: parent answered %s: %w", resp.Status, err)
		}
		return nil, err
	}
	return &wsConn{Conn: ws}, nil
}

// wsConn makes a byte stream of binary frames (MQTT 3.1.1, 6). One goroutine may
// read and one may write.
type wsConn struct {
	*websocket.Conn
	frame io.Reader
}

func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.frame == nil {
			_, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.frame = r
		}
		n, err := c.frame.Read(p)
		if err == io.EOF {
			c.frame = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *wsConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
