package broker

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/message"
)

const (
	lingerTime = time.Second
	maxControl = 1 << 20 // bytes of answers a client may leave unread
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
	counted   bool        // in Stats.Connections
	ended     bool        // its session knows that it is over

	// Set by the reader before the session is attached, constant afterwards.
	version   byte
	clientID  string
	assigned  bool // clientID is the broker's choice
	resumed   bool // the session was there before
	principal *identity.Principal
	connect   *wire.Connect    // the CONNECT, for its limits
	asked     uint32           // the session expiry it asked for, in seconds
	will      *message.Message // nil: none
	session   *session         // set before CONNACK

	unacked atomic.Int32 // QoS 1 and 2 publishes not yet answered

	mu      sync.Mutex
	ctl     []byte // bytes to write before any message
	greeted bool   // CONNACK is among them or out: DISCONNECT may follow
	ending  bool   // write ctl, then close
	aborted bool   // close now

	// filling is held while the writer takes messages out of the session, so that
	// taking sending away means that the writer has let go of it.
	filling sync.Mutex
	sending *session

	wake    chan struct{}
	written chan struct{} // closed when the writer has ended
	done    chan struct{} // closed when the session is free for another connection
	reading sync.Mutex    // held during a read of the socket
	out     outbound      // the writer's own
}

func newConn(b *Broker, l *listener, sock net.Conn) *conn {
	return &conn{
		b: b, l: l, sock: sock,
		wake: make(chan struct{}, 1), written: make(chan struct{}), done: make(chan struct{}),
	}
}

func (c *conn) start() {
	_ = c.sock.SetReadDeadline(time.Now().Add(c.b.cfg.ConnectTimeout)) // a dead socket fails in the read that follows
	go c.writeLoop()
}

// finish ends what the connection still has after mochi let go of it. The
// session is free before the last bytes are out: a client that comes back does
// not wait for its dead connection.
func (c *conn) finish() {
	if c.expiry != nil {
		c.expiry.Stop()
	}
	_ = c.Close()
	c.b.sessions.release(c)
	close(c.done)
	<-c.written
	c.shed()
}

// shed drops the buffers: mochi keeps the connection of a persistent session
// until the next one.
func (c *conn) shed() {
	c.mu.Lock()
	c.ctl = nil
	c.mu.Unlock()
	c.buf, c.pass, c.out, c.topics, c.aliases = nil, nil, outbound{}, topicCache{}, nil
}

// recover keeps a panic, ours or mochi's, to the connection it happened on.
func (c *conn) recover() {
	if r := recover(); r != nil {
		c.b.stats.Panics.Add(1)
		c.b.log.Error("connection ended by a panic", "peer", c.remote(), "client", c.clientID, "err", fmt.Sprint(r), "stack", stack())
		c.abort()
	}
}

func (c *conn) remote() string { return c.sock.RemoteAddr().String() }

// Write takes mochi's answers: CONNACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT.
// They are written by the writer goroutine, before any message. Two things it
// would send are not for the client: messages of its own ($SYS, once at its
// start), and DISCONNECT to 3.1.1, whose servers have none (section 3.14).
func (c *conn) Write(p []byte) (int, error) {
	kind := wire.Type(p)
	if kind == wire.PUBLISH || kind == wire.DISCONNECT && c.version < 5 {
		return len(p), nil
	}
	ok := c.control(func(dst []byte) []byte {
		c.greeted = c.greeted || kind == wire.CONNACK
		return append(dst, p...)
	})
	if !ok {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// control appends to the bytes the writer sends next and wakes it. It reports
// false when the connection takes no more. A client that lets answers pile up
// unread loses its connection: they are the one queue without a window.
func (c *conn) control(add func(dst []byte) []byte) bool {
	over, ok := c.appendControl(add)
	if over {
		c.abort()
		return false
	}
	if ok {
		c.signal()
	}
	return ok
}

func (c *conn) appendControl(add func(dst []byte) []byte) (over, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending || c.aborted {
		return false, false
	}
	c.ctl = add(c.ctl)
	return len(c.ctl) > maxControl, true
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
func (c *conn) disconnect(code byte, reason string) {
	c.control(func(dst []byte) []byte {
		if c.greeted && c.version == wire.V5 {
			dst = wire.AppendDisconnect(dst, code, reason, c.maxPacket())
		}
		return dst
	})
	_ = c.Close()
}

// Close lets the writer flush and end the connection (mochi calls it to stop a
// client). The reader is woken and reads no more; a write that is stuck gets
// little more time.
func (c *conn) Close() error {
	c.mu.Lock()
	if !c.ending {
		c.ending = true
		_ = c.sock.SetWriteDeadline(time.Now().Add(lingerTime)) // on a dead socket there is no write to end
	}
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
	var from net.Conn = c.sock
	if ws, isWS := c.sock.(*wsConn); isWS {
		from = ws.ws.NetConn() // a WebSocket reader does not work again after its deadline
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if from.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	sink := make([]byte, 8<<10)
	for range 4096 {
		if _, err := from.Read(sink); err != nil {
			return
		}
	}
}

// handshake returns the TLS state once the first packet has come; nil without TLS.
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
