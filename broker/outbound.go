package broker

import (
	"time"

	"github.com/penstock-io/penstock/broker/wire"
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
	for {
		buf, s, ending, aborted := c.takeControl()
		if aborted {
			return
		}
		if s != nil && !ending {
			buf = c.fillMessages(buf, s)
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
		c.wait(s)
	}
}

func (c *conn) takeControl() (buf []byte, s *session, ending, aborted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf = append(c.out.buf[:0], c.ctl...)
	if c.ctl = c.ctl[:0]; cap(c.ctl) > writeSize {
		c.ctl = nil
	}
	return buf, c.session, c.ending, c.aborted
}

func (c *conn) writeOut(buf []byte) bool {
	if c.sock.SetWriteDeadline(time.Now().Add(c.b.cfg.WriteTimeout)) != nil {
		return false
	}
	_, err := c.sock.Write(buf)
	return err == nil
}

// wait sleeps until there is something to do.
func (c *conn) wait(s *session) {
	var ready <-chan struct{}
	if s != nil && s.queue != nil {
		ready = s.queue.Ready()
	}
	if c.out.buf != nil && s == nil {
		c.out.buf = nil
	}
	select {
	case <-c.wake:
	case <-ready:
	}
}

// fillMessages appends what may be sent now.
func (c *conn) fillMessages(buf []byte, s *session) []byte {
	if c.out.aliases == nil && c.connect.TopicAliasMaximum > 0 {
		c.out.aliases, c.out.max = make(map[string]uint16), min(c.connect.TopicAliasMaximum, c.b.cfg.TopicAliasMax)
	}
	buf = c.fillMemory(buf, s)
	if s.queue == nil || len(buf) >= writeSize {
		return buf
	}
	if len(c.out.leased) == 0 {
		s.mu.Lock()
		room := min(c.window()-len(s.flights), queueIDs/2)
		s.mu.Unlock()
		if room <= 0 {
			return buf
		}
		var err error
		c.out.space, err = s.queue.Lease(c.out.space[:0], min(room, 256))
		if err != nil {
			c.b.log.Error("read session queue", "client", s.id, "queue", s.queueName(), "err", err)
			c.abort()
			return buf
		}
		c.out.leased = c.out.space
	}
	return c.fillLeased(buf, s)
}

// window is how many deliveries may be unacknowledged (MQTT-3.3.4-9).
func (c *conn) window() int { return min(c.b.cfg.Window, int(c.connect.ReceiveMaximum)) }

// fillMemory appends messages of the rings.
func (c *conn) fillMemory(buf []byte, s *session) []byte {
	s.mu.Lock()
	var rejected []out
	for len(buf) < writeSize && s.qos0.len() > 0 {
		o := s.qos0.pop()
		s.bytes -= o.size()
		buf, _ = c.appendOut(buf, &o, 0, false)
		if o.done != nil {
			rejected = append(rejected, o)
		}
	}
	for len(buf) < writeSize && s.qos12.len() > 0 && len(s.flights) < c.window() {
		o := s.qos12.pop()
		s.bytes -= o.size()
		id := s.freeID()
		next, ok := c.appendOut(buf, &o, id, false)
		buf = next
		if ok {
			s.flights[id] = flight{done: o.done, qos: o.qos}
		} else if o.done != nil {
			o.topic = "" // tells the answer below: refused
			rejected = append(rejected, o)
		}
	}
	s.mu.Unlock()
	for _, o := range rejected {
		if o.qos == 0 {
			o.done(nil)
		} else {
			o.done(ErrTooLarge)
		}
	}
	return buf
}

// freeID returns an unused packet id above queueIDs. The window is far smaller
// than their number, so there is one.
func (s *session) freeID() uint16 {
	for {
		s.nextID++
		if s.nextID <= queueIDs {
			s.nextID = queueIDs + 1
		}
		if _, used := s.flights[s.nextID]; !used {
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
			s.flights[id] = flight{seq: d.Seq, qos: qos}
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

// appendOut encodes one PUBLISH; false means it is larger than the client takes.
func (c *conn) appendOut(buf []byte, o *out, id uint16, dup bool) ([]byte, bool) {
	w := wire.Outgoing{
		Version: c.version, QoS: o.qos, Dup: dup && o.qos > 0, Retain: o.retain,
		ID: id, Topic: o.topic, Payload: o.msg.Body,
	}
	if w.Topic == "" {
		w.Topic = o.msg.Topic
	}
	if c.version == 5 {
		c.out.props = appendProperties(c.out.props[:0], o.msg)
		c.out.own = append(c.out.own[:0], o.ids...)
		w.Shared, w.Own = c.out.props, c.out.own
		c.alias(&w)
	}
	if !w.Fits(c.maxPacket()) {
		return buf, false
	}
	c.b.stats.Delivered.Add(1)
	return w.Append(buf), true
}

// alias replaces a topic the client has an alias for, or gives it one.
func (c *conn) alias(w *wire.Outgoing) {
	if c.out.max == 0 {
		return
	}
	n, known := c.out.aliases[w.Topic]
	if !known {
		if len(c.out.aliases) >= int(c.out.max) {
			return
		}
		n = uint16(len(c.out.aliases) + 1)
	}
	c.out.own = wire.AppendU16Prop(c.out.own, wire.PropTopicAlias, n)
	w.Own = c.out.own
	switch {
	case known:
		w.Topic = ""
	case w.Fits(c.maxPacket()): // an alias nobody received must not be used
		c.out.aliases[w.Topic] = n
	}
}

// appendProperties encodes what MQTT 5 carries of a message.
func appendProperties(dst []byte, m *message.Message) []byte {
	if m.Expires > 0 {
		left := max(0, m.Expires-time.Now().UnixMilli())
		dst = wire.AppendU32Prop(dst, wire.PropMessageExpiry, uint32((left+999)/1000)) // MQTT-3.3.2-6
	}
	for _, p := range m.System {
		switch p.Name {
		case message.SysContentType:
			dst = wire.AppendTextProp(dst, wire.PropContentType, p.Value)
		case message.SysResponseTopic:
			dst = wire.AppendTextProp(dst, wire.PropResponseTopic, p.Value)
		case message.SysCorrelationData:
			dst = wire.AppendTextProp(dst, wire.PropCorrelationData, p.Value)
		case message.SysPayloadFormat:
			dst = wire.AppendByteProp(dst, wire.PropPayloadFormat, p.Value[0]-'0')
		}
	}
	for _, p := range m.Properties {
		dst = wire.AppendUserProp(dst, p.Name, p.Value)
	}
	return dst
}

// Deliver sends m on topic, QoS 1, to the one client called clientID, if it is
// connected and has the subscription filter or one that is equal to it. done is
// called once: nil when the client has acknowledged, ErrNoSubscriber,
// ErrDisconnected, ErrRefused or ErrTooLarge otherwise. It must not block.
func (b *Broker) Deliver(clientID, topic string, filters []string, m *message.Message, done func(error)) {
	s := b.sessions.get(clientID)
	qos, ok := byte(0), false
	if s != nil && s.connected() {
		qos, ok = b.sessions.subscribed(clientID, filters)
	}
	if !ok {
		done(ErrNoSubscriber)
		return
	}
	if !s.push(out{msg: m, topic: topic, qos: min(qos, 1), done: done}) {
		done(ErrDisconnected)
	}
}
