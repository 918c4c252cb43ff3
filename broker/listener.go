package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// Listener is one address the broker serves.
type Listener struct {
	Name    string
	Address string      // host:port; port 0 picks a free one
	TLS     *tls.Config // nil: plain text
	// WebSocket serves MQTT over WebSocket (MQTT 5.0 section 6), on any path.
	WebSocket bool
	// Origins are the web origins besides the listener's own host whose pages may
	// connect over WebSocket; "*" admits all.
	Origins []string
}

// listener adapts one Listener to mochi: it accepts sockets, wraps each in a
// spliced connection and hands that to mochi's session code.
type listener struct {
	b      *Broker
	cfg    Listener
	ln     net.Listener
	closed atomic.Bool
	http   *http.Server // WebSocket only
}

func listen(b *Broker, cfg Listener) (*listener, error) {
	ln, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("listen %s on %s: %w", cfg.Name, cfg.Address, err)
	}
	l := &listener{b: b, cfg: cfg, ln: ln}
	if cfg.WebSocket {
		l.http = &http.Server{
			Handler:           http.HandlerFunc(l.upgrade),
			ReadHeaderTimeout: b.cfg.ConnectTimeout,
			IdleTimeout:       b.cfg.ConnectTimeout, // who does not upgrade does not stay
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
		}
	}
	return l, nil
}

// ID, Address, Protocol, Init and Close are what mochi asks of a listener.
func (l *listener) ID() string                { return l.cfg.Name }
func (l *listener) Address() string           { return l.ln.Addr().String() }
func (l *listener) Init(*slog.Logger) error   { return nil }
func (l *listener) Close(_ listeners.CloseFn) { l.shut() }

func (l *listener) Protocol() string {
	switch {
	case l.cfg.WebSocket && l.cfg.TLS != nil:
		return "wss"
	case l.cfg.WebSocket:
		return "ws"
	case l.cfg.TLS != nil:
		return "tls"
	}
	return "tcp"
}

func (l *listener) shut() {
	if !l.closed.CompareAndSwap(false, true) {
		return
	}
	_ = l.ln.Close() // nothing follows from a failed close of an accept socket
	if l.http != nil {
		_ = l.http.Close() // ends what has not upgraded yet
	}
}

// Serve accepts until the listener is closed.
func (l *listener) Serve(listeners.EstablishFn) {
	ln := l.ln
	if l.cfg.TLS != nil {
		ln = tls.NewListener(ln, l.cfg.TLS)
	}
	if l.cfg.WebSocket {
		if err := l.http.Serve(ln); err != nil && !l.closed.Load() {
			l.b.log.Error("websocket listener stopped", "listener", l.cfg.Name, "err", err)
		}
		return
	}
	l.acceptLoop(ln)
}

func (l *listener) acceptLoop(ln net.Listener) {
	for {
		sock, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors is the usual cause: it passes, so the listener stays.
			l.b.log.Warn("accept failed", "listener", l.cfg.Name, "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go l.serve(sock)
	}
}

// serve runs one connection to its end. A panic, ours or mochi's, ends only it.
func (l *listener) serve(sock net.Conn) {
	c := newConn(l.b, l, sock)
	if !l.b.enter(c) {
		l.b.stats.Refused.Add(1)
		_ = sock.Close()
		return
	}
	defer l.b.leave(c)
	c.start()
	defer c.finish()
	defer c.recover()
	err := l.b.server.EstablishConnection(l.cfg.Name, c)
	l.b.log.Debug("connection ended", "peer", c.remote(), "client", c.clientID, "err", err)
}
