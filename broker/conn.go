package broker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
)

const (
	firstBuffer = 2 << 10
	fullBuffer  = 64 << 10
	lingerTime  = time.Second
	maxControl  = 1 << 20 // bytes of answers a client may leave unread
)

// conn is the spliced connection: mochi reads from it and writes to it as if it
// were the socket, but PUBLISH and acknowledgements never reach mochi.
//
// Three goroutines meet here. The reader (mochi's, inside Read) decodes and
// hands on. The writer owns the socket's write side. Completions from the
// Acceptor append to the control bytes under mu. Nobody holds mu during I/O.
type conn struct {
	b    *Broker
	l    *listener
	sock net.Conn

	// The reader's own.
	buf       []byte // unread bytes are buf[r:w]
	r, w      int
	small     int    // reads in a row that a first buffer would have held
	pass      []byte // vetted bytes waiting for mochi
	sawFirst  bool   // the CONNECT has passed
	topics    topicCache
	aliases   *wire.Aliases
	pending   pendingSubscribe
	keepAlive time.Duration
	expiry    *time.Timer // ends the connection with its credentials
	ended     bool        // OnDisconnect has run

	// Set by the reader before the session is attached, constant afterwards.
	version   byte
	clientID  string
	principal *identity.Principal
	connect   *wire.Connect // the CONNECT, for its limits and its will
	session   *session      // set by attach

	unacked atomic.Int32 // QoS 1 and 2 publishes not yet answered

	mu      sync.Mutex
	ctl     []byte // bytes to write before any message
	ending  bool   // write ctl, then close
	aborted bool   // close now

	wake    chan struct{}
	written chan struct{} // closed when the writer has ended
	done    chan struct{} // closed when the connection is over in every respect
	reading sync.Mutex    // held during a read of the socket
	out     outbound      // the writer's own
}

func newConn(b *Broker, l *listener, sock net.Conn) *conn {
	c := &conn{
		b: b, l: l, sock: sock,
		wake: make(chan struct{}, 1), written: make(chan struct{}), done: make(chan struct{}),
	}
	_ = sock.SetReadDeadline(time.Now().Add(b.cfg.ConnectTimeout)) // a dead socket fails in the read that follows
	go c.writeLoop()
	return c
}

// finish ends what the connection still has after mochi let go of it.
func (c *conn) finish() {
	if c.expiry != nil {
		c.expiry.Stop()
	}
	_ = c.Close()
	<-c.written
	c.b.sessions.release(c)
	close(c.done)
}

func (c *conn) remote() string { return c.sock.RemoteAddr().String() }

// Read gives mochi the packets that are its business. Everything else that
// arrives meanwhile is handled here, on mochi's reading goroutine.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.pass) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.pass)
	c.pass = c.pass[n:]
	return n, nil
}

// next handles buffered packets until one is for mochi, reading more as needed.
func (c *conn) next() error {
	for {
		more, err := c.parse()
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// parse handles whole packets in the buffer. It returns true when it needs more
// bytes, false when a packet was passed on to mochi.
func (c *conn) parse() (bool, error) {
	for {
		if c.isEnding() {
			return false, net.ErrClosed
		}
		n, fault := wire.Frame(c.buf[c.r:c.w], c.b.cfg.MaxPacketSize)
		if fault != nil {
			return false, c.fault(fault)
		}
		if n == 0 {
			return true, nil
		}
		packet := c.buf[c.r : c.r+n]
		if !c.sawFirst {
			if err := c.connecting(packet); err != nil {
				return false, err
			}
			c.sawFirst = true
			c.passOn(n)
			return false, nil
		}
		if isHot(packet[0]) {
			if err := c.hotRun(); err != nil {
				return false, err
			}
			continue
		}
		if err := c.vet(packet); err != nil {
			return false, err
		}
		c.passOn(n)
		return false, nil
	}
}

// isHot says whether packets that begin with b are the broker's own business:
// PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP.
func isHot(b byte) bool { t := b >> 4; return t >= 3 && t <= 7 }

// passOn gives the next n buffered bytes to mochi. It has read them all before
// the buffer is touched again, because Read returns only those.
func (c *conn) passOn(n int) {
	c.pass = c.buf[c.r : c.r+n]
	c.r += n
}

// vet refuses what mochi must not see.
func (c *conn) vet(packet []byte) error {
	if fault := wire.Vet(c.version, packet); fault != nil {
		return c.fault(fault)
	}
	return nil
}

// fault ends the connection for a broken packet: MQTT 5 clients are told why.
func (c *conn) fault(f *wire.Fault) error {
	c.b.stats.Malformed.Add(1)
	c.b.log.Warn("packet refused", "peer", c.remote(), "client", c.clientID, "reason", f.Reason, "clause", f.Clause)
	if !c.sawFirst {
		c.refuseConnect(f)
		return f
	}
	c.disconnect(f.Code)
	return f
}

// fill reads from the socket once.
func (c *conn) fill() error {
	c.room()
	if c.sawFirst {
		var deadline time.Time
		if c.keepAlive > 0 {
			deadline = time.Now().Add(c.keepAlive + c.keepAlive/2) // MQTT-3.1.2-22
		}
		_ = c.sock.SetReadDeadline(deadline) // a dead socket fails in the read below
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.isEnding() {
		return net.ErrClosed
	}
	n, err := c.sock.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.isEnding() {
		if c.sawFirst {
			c.disconnect(wire.KeepAliveTimeout)
		}
		return errKeepAlive
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// room makes space to read into: the buffer grows to what one packet or a busy
// connection needs and shrinks again when traffic is small.
func (c *conn) room() {
	left := c.w - c.r
	switch {
	case c.buf == nil:
		c.buf = make([]byte, firstBuffer)
	case c.w == len(c.buf) && c.r == 0: // one packet larger than the buffer
		c.resize(2 * len(c.buf))
	case c.w == len(c.buf) && len(c.buf) < fullBuffer: // the last read filled it
		c.resize(max(2*len(c.buf), 2*left))
		c.small = 0
	case left == 0 && len(c.buf) > firstBuffer && c.w <= firstBuffer:
		if c.small++; c.small >= 64 {
			c.buf, c.small = make([]byte, firstBuffer), 0
		}
		c.r, c.w = 0, 0
	case left == 0:
		c.r, c.w, c.small = 0, 0, 0
	case c.r > 0:
		copy(c.buf, c.buf[c.r:c.w])
		c.r, c.w = 0, left
	}
	if c.r > 0 && c.w == c.r {
		c.r, c.w = 0, 0
	}
}

func (c *conn) resize(n int) {
	next := make([]byte, min(n, c.b.cfg.MaxPacketSize+8+firstBuffer))
	c.w = copy(next, c.buf[c.r:c.w])
	c.r, c.buf = 0, next
}

// Write takes mochi's answers: CONNACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT.
// They are written by the writer goroutine, before any message.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0]>>4 == wire.DISCONNECT && c.version < 5 {
		return len(p), nil // 3.1.1 servers have no DISCONNECT to send (section 3.14)
	}
	if !c.control(func(dst []byte) []byte { return append(dst, p...) }) {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// control appends to the bytes the writer sends next and wakes it. It reports
// false when the connection takes no more. A client that lets answers pile up
// unread loses its connection: they are the one queue without a window.
func (c *conn) control(add func(dst []byte) []byte) bool {
	c.mu.Lock()
	if c.ending || c.aborted {
		c.mu.Unlock()
		return false
	}
	c.ctl = add(c.ctl)
	over := len(c.ctl) > maxControl
	c.mu.Unlock()
	if over {
		c.abort()
		return false
	}
	c.signal()
	return true
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending || c.aborted
}

// disconnect ends the connection: an MQTT 5 client gets the reason, then what
// is queued as control is flushed and the socket closed.
func (c *conn) disconnect(code byte) {
	c.control(func(dst []byte) []byte {
		if c.version == 5 && c.sawFirst {
			dst = wire.AppendDisconnect(dst, code, "", c.maxPacket())
		}
		return dst
	})
	_ = c.Close()
}

// Close lets the writer flush and end the connection (mochi calls it to stop a
// client). The reader is woken and reads no more.
func (c *conn) Close() error {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	_ = c.sock.SetReadDeadline(time.Unix(1, 0)) // wakes a reader; on a dead socket there is none to wake
	c.signal()
	return nil
}

// abort closes without flushing.
func (c *conn) abort() {
	c.mu.Lock()
	c.aborted = true
	c.mu.Unlock()
	_ = c.sock.Close()
	c.signal()
}

// linger closes in the order the peer can follow: no more bytes from here, then
// read what is still coming so that a reset does not destroy what was sent
// (DISCONNECT 0x93 would be lost otherwise), then close.
func (c *conn) linger() {
	defer c.sock.Close()
	half, ok := c.sock.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.sock.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	var sink [512]byte
	for range 4096 {
		if _, err := c.sock.Read(sink[:]); err != nil {
			return
		}
	}
}

// handshake completes TLS before the first packet, within the connect timeout.
func (c *conn) handshake() (*tls.ConnectionState, error) {
	t, ok := c.sock.(*tls.Conn)
	if ws, isWS := c.sock.(*wsConn); isWS {
		t, ok = ws.ws.NetConn().(*tls.Conn)
	}
	if !ok {
		return nil, nil
	}
	if err := t.Handshake(); err != nil {
		return nil, err
	}
	s := t.ConnectionState()
	return &s, nil
}

// Deadlines are the broker's: mochi's overflow for keep-alives above 43,690 s
// and know nothing of packets that pass it by.
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
func (c *conn) LocalAddr() net.Addr              { return c.sock.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr             { return c.sock.RemoteAddr() }
