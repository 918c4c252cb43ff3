package mqtttest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// Client is one connection. See the package comment.
type Client struct {
	t       testing.TB
	conn    net.Conn
	r       *bufio.Reader
	version byte
	timeout time.Duration
	lastID  uint16
	waiting []Packet // read while another packet was awaited
}

// Option changes a Client before it connects.
type Option func(*options)

type options struct {
	version byte
	timeout time.Duration
	tls     *tls.Config
}

// Version makes the client speak V311, the default, or V5.
func Version(v byte) Option { return func(o *options) { o.version = v } }

// Timeout bounds every single read and write; the default is 5 s.
func Timeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// TLS makes Dial use TLS.
func TLS(c *tls.Config) Option { return func(o *options) { o.tls = c } }

func collect(opts []Option) options {
	o := options{version: V311, timeout: 5 * time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Dial opens a TCP (or, with TLS, TLS) connection that ends with the test. Nothing is sent yet.
func Dial(t testing.TB, addr string, opts ...Option) *Client {
	t.Helper()
	c, err := DialError(t, addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// DialError is Dial for any goroutine and for servers that may not be there.
func DialError(t testing.TB, addr string, opts ...Option) (*Client, error) {
	o := collect(opts)
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	var conn net.Conn
	var err error
	if o.tls != nil {
		conn, err = (&tls.Dialer{Config: o.tls}).DialContext(ctx, "tcp", addr)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return New(t, conn, opts...), nil
}

// New speaks MQTT over a connection that the test opened: a WebSocket, a pipe.
func New(t testing.TB, conn net.Conn, opts ...Option) *Client {
	o := collect(opts)
	t.Cleanup(func() { conn.Close() })
	return &Client{t: t, conn: conn, r: bufio.NewReaderSize(conn, 64<<10), version: o.version, timeout: o.timeout}
}

// Version returns V311 or V5.
func (c *Client) Version() byte { return c.version }

// Conn returns the connection itself.
func (c *Client) Conn() net.Conn { return c.conn }

// Close closes the connection without DISCONNECT.
func (c *Client) Close() { c.conn.Close() }

// Reset closes a TCP connection with RST, as a crashed machine's network would.
func (c *Client) Reset() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.conn.Close()
}

// Write sends any bytes.
func (c *Client) Write(b []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// Read returns the next packet: io.EOF when the server closed the connection,
// an error that is os.ErrDeadlineExceeded when nothing came in time.
func (c *Client) Read() (Packet, error) {
	if len(c.waiting) > 0 {
		p := c.waiting[0]
		c.waiting = c.waiting[1:]
		return p, nil
	}
	return c.next(c.timeout)
}

// next reads a packet from the connection, past those that wait.
func (c *Client) next(within time.Duration) (Packet, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return Packet{}, err
	}
	first, err := c.r.ReadByte()
	if err != nil {
		return Packet{}, ended(err)
	}
	n, err := c.remaining()
	if err != nil {
		return Packet{}, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return Packet{}, fmt.Errorf("read the body of a %s: %w", typeNames[first>>4], err)
	}
	return Decode(c.version, first, body)
}

// remaining reads the remaining length from the connection.
func (c *Client) remaining() (int, error) {
	n := 0
	for i := range 4 {
		b, err := c.r.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("read a remaining length: %w", err)
		}
		n |= int(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, errors.New("remaining length of more than four bytes")
}

// ended makes io.EOF of every way in which a peer can be gone.
func ended(err error) error {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return io.EOF
	}
	return err
}

// await returns the next packet that matches; others stay for Read.
func (c *Client) await(match func(Packet) bool) (Packet, error) {
	for i, p := range c.waiting {
		if match(p) {
			c.waiting = append(c.waiting[:i:i], c.waiting[i+1:]...)
			return p, nil
		}
	}
	deadline := time.Now().Add(c.timeout)
	for {
		p, err := c.next(time.Until(deadline))
		if err != nil || match(p) {
			return p, err
		}
		c.waiting = append(c.waiting, p)
		if p.Type == DISCONNECT {
			return p, fmt.Errorf("disconnected: %s", p)
		}
	}
}

// Send sends bytes, whatever they are.
func (c *Client) Send(b ...byte) {
	c.t.Helper()
	if err := c.Write(b); err != nil {
		c.t.Fatalf("send % .40x: %v", b, err)
	}
}

// Expect returns the next packet, which must be of this type.
func (c *Client) Expect(typ byte) Packet {
	c.t.Helper()
	p, err := c.Read()
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", typeNames[typ], err)
	}
	if p.Type != typ {
		c.t.Fatalf("got %s, want %s", p, typeNames[typ])
	}
	return p
}

// ExpectClosed waits until the server has closed the connection and returns what it sent before.
func (c *Client) ExpectClosed() []Packet {
	c.t.Helper()
	var before []Packet
	for {
		p, err := c.Read()
		switch {
		case errors.Is(err, io.EOF):
			return before
		case err != nil:
			c.t.Fatalf("waiting for the end of the connection, after %v: %v", before, err)
		}
		before = append(before, p)
	}
}

// ExpectRefused waits for the end of the connection after something illegal: a
// 5.0 server may name a reason of 0x80 or above in a DISCONNECT or CONNACK
// first, a 3.1.1 server only in a CONNACK. It returns that code, 0 when there
// was none. PUBLISHes in between are let through.
func (c *Client) ExpectRefused() (code byte) {
	c.t.Helper()
	for _, p := range c.ExpectClosed() {
		switch {
		case p.Type == PUBLISH:
		case code != 0:
			c.t.Fatalf("%s after the refusal", p)
		case p.Type == CONNACK && p.Code != 0, p.Type == DISCONNECT && c.version == V5 && p.Code >= 0x80:
			code = p.Code
		default:
			c.t.Fatalf("got %s, want a refusal", p)
		}
	}
	return code
}

// ExpectNothing waits that long and fails if anything arrives, be it the end of
// the connection.
func (c *Client) ExpectNothing(within time.Duration) {
	c.t.Helper()
	if len(c.waiting) > 0 {
		c.t.Fatalf("got %s, want nothing", c.waiting[0])
	}
	p, err := c.next(within)
	switch {
	case err == nil:
		c.t.Fatalf("got %s, want nothing", p)
	case !errors.Is(err, os.ErrDeadlineExceeded):
		c.t.Fatalf("want nothing: %v", err)
	}
}
