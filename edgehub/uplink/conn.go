package uplink

import (
	"bufio"
	"errors"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	readBuffer  = 8 << 10
	writeChunk  = 32 << 10 // each gets the write timeout
	writeMark   = 32 << 10 // above it, room waits; a ping waits behind this much
	keepBuffer  = 256 << 10
	closeWithin = 250 * time.Millisecond // for what is still unwritten, DISCONNECT for one
)

// conn gives paho what it lacks on a raw connection: reads of more than one byte
// at a time, many packets in one write, a write timeout that counts from the last
// progress, and news of a broken connection at once. Write only queues; room
// keeps the queue short.
type conn struct {
	net.Conn
	r       *bufio.Reader
	timeout time.Duration
	broken  func(error) // called at most once; not for our own Close

	mu      sync.Mutex
	buf     []byte // to be written
	writing bool
	closed  bool
	err     error
	kick    chan struct{} // buf is not empty
	freed   chan struct{} // buf shrank
	done    chan struct{} // closed by Close
	once    sync.Once
	writer  sync.WaitGroup
}

func newConn(c net.Conn, timeout time.Duration, broken func(error)) *conn {
	w := &conn{
		Conn: c, r: bufio.NewReaderSize(c, readBuffer), timeout: timeout, broken: broken,
		kick: make(chan struct{}, 1), freed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	w.writer.Go(w.flush)
	return w
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil {
		c.report(err)
	}
	return n, err
}

func (c *conn) report(err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	c.once.Do(func() { c.broken(err) })
}

// Write queues p, which it copies.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if c.closed {
		return 0, net.ErrClosed
	}
	c.buf = append(c.buf, p...)
	signal(c.kick)
	return len(p), nil
}

// room waits until little is queued, and reports false if stop ends first.
func (c *conn) room(stop <-chan struct{}) bool {
	for {
		c.mu.Lock()
		n := len(c.buf)
		c.mu.Unlock()
		if n < writeMark {
			return true
		}
		select {
		case <-c.freed:
		case <-c.done:
			return false
		case <-stop:
			return false
		}
	}
}

func (c *conn) flush() {
	var out []byte
	for {
		select {
		case <-c.kick:
		case <-c.done:
			return
		}
		runtime.Gosched() // more packets may be about to come: one write for all
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return
		}
		out, c.buf = c.buf, out[:0]
		c.writing = true
		c.mu.Unlock()
		signal(c.freed)
		err := c.write(out)
		if cap(out) > keepBuffer {
			out = nil
		}
		c.mu.Lock()
		c.writing = false
		c.err = err
		c.mu.Unlock()
		if err != nil {
			c.report(err)
			return
		}
	}
}

func (c *conn) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), writeChunk)
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return err
		}
		if _, err := c.Conn.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Close writes what is queued if the connection takes it, and closes. The
// writer ends soon after; wait waits for it.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	rest, idle := c.buf, !c.writing && c.err == nil
	c.buf = nil
	c.mu.Unlock()
	close(c.done)
	if idle && len(rest) > 0 && len(rest) <= writeChunk {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(closeWithin))
		_, _ = c.Conn.Write(rest)
	}
	return c.Conn.Close()
}

func (c *conn) wait() { c.writer.Wait() }

// SetDeadline and SetWriteDeadline leave the write side to flush.
func (c *conn) SetDeadline(t time.Time) error    { return c.Conn.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
