package broker

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/penstock-io/penstock/broker/wire"
)

const (
	firstBuffer = 2 << 10
	fullBuffer  = 64 << 10
)

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
		if c.sawFirst && isHot(packet[0]) {
			if err := c.hotRun(); err != nil {
				return false, err
			}
			continue
		}
		c.r += n
		return false, c.passOn(packet)
	}
}

// isHot says whether packets that begin with b are the broker's own business:
// PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP.
func isHot(b byte) bool { t := b >> 4; return t >= wire.PUBLISH && t <= wire.PUBCOMP }

// passOn gives mochi a packet. It has read it all before the buffer is touched
// again, because Read returns only that. CONNECT and DISCONNECT are written
// anew: mochi overlooks or refuses some that are legal, and some of what they
// say is none of its business.
func (c *conn) passOn(packet []byte) (err error) {
	switch {
	case !c.sawFirst:
		c.pass, err = c.connecting(packet)
		c.sawFirst = err == nil
		return err
	case wire.Type(packet) == wire.DISCONNECT:
		c.pass, err = c.leaving(packet)
		return err
	}
	if fault := wire.Vet(c.version, packet); fault != nil {
		return c.fault(fault)
	}
	c.pass = packet
	return nil
}

// leaving takes the client's farewell.
func (c *conn) leaving(packet []byte) ([]byte, error) {
	d, fault := wire.DecodeDisconnect(c.version, packet, c.connect.SessionExpiry)
	if fault != nil {
		return nil, c.fault(fault)
	}
	c.connect.SessionExpiry = min(d.SessionExpiry, c.b.longestExpiry())
	d.SessionExpiry = mochiExpiry(d.SessionExpiry)
	return d.Append(nil, c.version), nil
}

// fault ends the connection for a broken packet: MQTT 5 clients are told why.
func (c *conn) fault(f *wire.Fault) error {
	c.b.stats.Malformed.Add(1)
	c.b.log.Warn("packet refused", "peer", c.remote(), "client", c.clientID, "reason", f.Reason, "clause", f.Clause)
	if !c.sawFirst {
		c.refuseConnect(f)
		return f
	}
	c.disconnect(f.Code, f.Reason)
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
	n, err := c.readOnce()
	c.w += n
	if n > 0 {
		return nil
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() && !c.isEnding() {
		c.disconnect(wire.KeepAliveTimeout, errKeepAlive.Error())
		return errKeepAlive
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (c *conn) readOnce() (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.isEnding() {
		return 0, net.ErrClosed
	}
	return c.sock.Read(c.buf[c.w:])
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
