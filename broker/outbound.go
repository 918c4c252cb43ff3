package broker

import (
	"time"

	"github.com/penstock-io/penstock/message"
)

const writeSize = 64 << 10 // a write is sent when this much is ready

// outbound is the writer goroutine's own state.
type outbound struct {
	buf     []byte
	props   []byte
	own     []byte
	leased  []message.Delivery // leased and not yet sent
	space   []message.Delivery // reused for leasing
	aliases map[string]uint16
	max     uint16 // topic aliases the client takes
}

// writeLoop is the only goroutine that writes to the socket. Each round takes
// the control bytes, then as many messages as the window and the buffer allow,
// and sends them in one write.
func (c *conn) writeLoop() {
	defer close(c.written)
	defer c.recover()
	for {
		buf, ending, aborted := c.takeControl()
		if aborted {
			return
		}
		var ready <-chan struct{}
		if !ending {
			buf, ready = c.fillMessages(buf)
		}
		c.out.buf = buf
		if len(buf) > 0 {
			if !c.writeOut(buf) {
				c.abort()
				return
			}
			if cap(buf) > 2*writeSize {
				c.out.buf = nil
			}
			continue
		}
		if ending {
			c.linger()
			return
		}
		select {
		case <-c.wake:
		case <-ready:
		}
	}
}

func (c *conn) takeControl() (buf []byte, ending, aborted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf = append(c.out.buf[:0], c.ctl...)
	if c.ctl = c.ctl[:0]; cap(c.ctl) > writeSize {
		c.ctl = nil
	}
	return buf, c.ending, c.aborted
}

func (c *conn) writeOut(buf []byte) bool {
	if c.limitWrite() != nil {
		return false
	}
	_, err := c.sock.Write(buf)
	return err == nil
}

// limitWrite sets the deadline of the next write, which Close shortens.
func (c *conn) limitWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.b.cfg.WriteTimeout
	if c.ending {
		limit = lingerTime
	}
	return c.sock.SetWriteDeadline(time.Now().Add(limit))
}

// fillMessages appends what may be sent now and returns what announces more.
func (c *conn) fillMessages(buf []byte) ([]byte, <-chan struct{}) {
	c.filling.Lock()
	defer c.filling.Unlock()
	s := c.sending
	if s == nil {
		return buf, nil
	}
	if c.out.aliases == nil && c.connect.TopicAliasMaximum > 0 {
		c.out.aliases, c.out.max = make(map[string]uint16), min(c.connect.TopicAliasMaximum, c.b.cfg.TopicAliasMax)
	}
	buf = c.fillMemory(buf, s)
	if s.queue == nil {
		return buf, nil
	}
	if len(c.out.leased) == 0 && len(buf) < writeSize {
		if err := c.lease(s); err != nil {
			c.b.log.Error("read session queue", "client", s.id, "queue", s.queueName(), "err", err)
			c.abort()
			return buf, nil
		}
	}
	return c.fillLeased(buf, s), s.queue.Ready()
}

// lease takes from the session's queue what the window has room for.
func (c *conn) lease(s *session) (err error) {
	s.mu.Lock()
	room := min(c.window()-len(s.flights), queueIDs/2)
	s.mu.Unlock()
	if room <= 0 {
		return nil
	}
	c.out.space, err = s.queue.Lease(c.out.space[:0], min(room, 256))
	c.out.leased = c.out.space
	return err
}

// window is how many deliveries may be unacknowledged (MQTT-3.3.4-9).
func (c *conn) window() int { return min(c.b.cfg.Window, int(c.connect.ReceiveMaximum)) }

// fillMemory appends messages of the rings.
func (c *conn) fillMemory(buf []byte, s *session) []byte {
	now := time.Now().UnixMilli()
	var answers []func()
	s.mu.Lock()
	for len(buf) < writeSize && s.qos0.len() > 0 {
		o := s.qos0.pop()
		s.bytes -= o.size()
		if o.expired(now) {
			continue
		}
		next, ok := c.appendOut(buf, &o, 0, false)
		buf = next
		if o.done != nil {
			answers = append(answers, func() { o.done(tooLargeUnless(ok)) })
		}
	}
	for len(buf) < writeSize && s.qos12.len() > 0 && len(s.flights) < c.window() {
		o := s.qos12.pop()
		s.bytes -= o.size()
		if o.expired(now) {
			continue
		}
		id, again := o.id, o.id != 0
		if !again {
			id = s.freeID()
		}
		next, ok := c.appendOut(buf, &o, id, again)
		buf = next
		switch {
		case ok:
			s.launch(id, o)
		case o.done != nil:
			answers = append(answers, func() { o.done(ErrTooLarge) })
		}
	}
	s.mu.Unlock()
	for _, answer := range answers {
		answer()
	}
	return buf
}

func tooLargeUnless(ok bool) error {
	if ok {
		return nil
	}
	return ErrTooLarge
}

// expired: a copy whose time ran out before its delivery began is deleted
// (MQTT-3.3.2-5). A direct delivery is its sender's to give up.
func (o *out) expired(now int64) bool {
	return o.done == nil && o.msg.Expires > 0 && o.msg.Expires <= now
}

// launch notes what the client now has to acknowledge. Needs mu.
func (s *session) launch(id uint16, o out) {
	s.sent++
	f := flight{done: o.done, qos: o.qos, n: s.sent}
	if s.persistent && s.queue == nil && o.done == nil {
		o.id = id
		f.msg = &o
	}
	s.flights[id] = f
}

// freeID returns an unused packet id above queueIDs. The window is far smaller
// than their number, so there is one.
func (s *session) freeID() uint16 {
	for {
		s.nextID++
		if s.nextID <= queueIDs {
			s.nextID = queueIDs + 1
		}
		_, used := s.flights[s.nextID] // as has every id in release
		if !used {
			return s.nextID
		}
	}
}

// fillLeased appends messages of the session's queue. Their packet ids follow
// from the sequence, so that a resend after a crash carries the same one.
func (c *conn) fillLeased(buf []byte, s *session) []byte {
	now := time.Now().UnixMilli()
	for len(c.out.leased) > 0 && len(buf) < writeSize {
		d := &c.out.leased[0]
		id := uint16(d.Seq%queueIDs) + 1
		qos, retain, ids := parseMeta(d.Meta)
		s.mu.Lock()
		_, used := s.flights[id]
		if !used {
			s.sent++
			s.flights[id] = flight{seq: d.Seq, qos: qos, n: s.sent}
		}
		s.mu.Unlock()
		if used {
			break // the id's last use is not over; its end wakes the writer
		}
		o := out{msg: &d.Message, qos: qos, retain: retain, ids: ids}
		expired := d.Expire > 0 && d.Expire <= now
		next, ok := buf, false
		if !expired {
			next, ok = c.appendOut(buf, &o, id, d.Attempt > 1)
		}
		buf = next
		if !ok {
			c.giveUp(s, id, d.Seq, expired)
		}
		c.out.leased = c.out.leased[1:]
	}
	if len(c.out.leased) == 0 {
		clear(c.out.space)
	}
	return buf
}

func (c *conn) giveUp(s *session, id uint16, seq uint64, expired bool) {
	s.mu.Lock()
	delete(s.flights, id)
	s.mu.Unlock()
	if expired {
		s.queue.Settle(seq, message.Expired, "")
		return
	}
	s.queue.Settle(seq, message.Dropped, "larger than the client's maximum packet size")
}
