package broker

import (
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/message"
)

const (
	sessionRule   = "session"  // the ledger account of persistent sessions
	queuePrefix   = "session/" // their queues' names
	queueIDs      = 32767      // packet ids 1…queueIDs follow from queue sequences
	bucketReceive = "mqtt-received"
	bucketRelease = "mqtt-release"
)

// out is one message on its way to a session from memory.
type out struct {
	msg    *message.Message
	topic  string // the topic to send on, when not msg.Topic
	qos    byte
	retain bool
	ids    []byte      // encoded subscription identifiers
	done   func(error) // direct deliveries only: answered once
}

func (o *out) size() int { return len(o.msg.Body) + 128 }

// session is what the broker knows of one client id, from its first CONNECT
// until its expiry. A clean session lives as long as its connection.
type session struct {
	b          *Broker
	id         string
	queue      Queue // persistent sessions on a device; nil: from memory only
	persistent bool

	online atomic.Bool

	mu       sync.Mutex
	conn     *conn
	qos0     ring // QoS 0 is not held up by the window
	qos12    ring
	bytes    int // of both rings
	flights  map[uint16]flight
	nextID   uint16
	release  map[uint16]bool // ids whose PUBREL is out (queueIDs range, durable)
	received map[uint16]bool // client's QoS 2 ids that wait for PUBREL; true: its PUBREL is being made durable
	dropped  uint64
	settled  []uint64 // delivered sequences of the reader's present run
}

// flight is one delivery that awaits the client's acknowledgement.
type flight struct {
	seq  uint64 // of the session's queue; 0: from memory
	done func(error)
	qos  byte
	rel  bool // PUBREL is out
}

func newSession(b *Broker, id string, persistent bool) *session {
	return &session{
		b: b, id: id, persistent: persistent,
		flights: make(map[uint16]flight), release: make(map[uint16]bool), received: make(map[uint16]bool),
	}
}

func (s *session) queueName() string { return queuePrefix + s.id }
func (s *session) connected() bool   { return s.online.Load() }

// durable says whether messages of this QoS reach the session through its queue.
func (s *session) durable(qos byte) bool { return s.queue != nil && qos > 0 }

// attach makes c the session's connection; from now on messages flow.
func (s *session) attach(c *conn) {
	s.mu.Lock()
	s.conn = c
	for id := range s.release { // resent before any message, MQTT-4.4.0-1
		s.flights[id] = flight{qos: 2, rel: true}
	}
	s.mu.Unlock()
	if s.queue != nil {
		s.queue.Rewind()
	}
	s.online.Store(true)
	c.mu.Lock()
	c.session = s
	for id := range s.release {
		c.ctl = wire.AppendAck(c.ctl, c.version, wire.PUBREL, id, wire.Success)
	}
	c.mu.Unlock()
	c.signal()
}

// detach takes c off. What was under way from memory is answered; what came
// from the queue is there still and comes again.
func (s *session) detach(c *conn) {
	s.mu.Lock()
	if s.conn != c {
		s.mu.Unlock()
		return
	}
	s.conn = nil
	s.online.Store(false)
	flights := s.flights
	s.flights = make(map[uint16]flight)
	var lost []out
	if !s.persistent || s.queue != nil {
		lost = s.clearRings()
	} else {
		lost = s.takeDirect()
	}
	s.mu.Unlock()
	for _, f := range flights {
		if f.done != nil {
			f.done(ErrDisconnected)
		}
	}
	for _, o := range lost {
		if o.done != nil {
			o.done(ErrDisconnected)
		}
	}
	if s.queue != nil {
		s.queue.Rewind()
	}
}

func (s *session) clearRings() []out {
	lost := append(s.qos0.drain(), s.qos12.drain()...)
	s.bytes = 0
	return lost
}

// takeDirect keeps an offline memory session's own messages and gives back
// direct deliveries, whose sender retries by itself.
func (s *session) takeDirect() []out {
	var direct []out
	for _, o := range s.clearRings() {
		if o.done != nil {
			direct = append(direct, o)
			continue
		}
		s.ringOf(&o).push(o)
		s.bytes += o.size()
	}
	return direct
}

func (s *session) ringOf(o *out) *ring {
	if o.qos == 0 {
		return &s.qos0
	}
	return &s.qos12
}

// push queues one live copy in memory. A session that does not keep up loses
// new copies, counted; it slows nobody. false: the copy was not taken.
func (s *session) push(o out) bool {
	s.mu.Lock()
	if s.conn == nil && (o.done != nil || !s.persistent || s.queue != nil) {
		s.mu.Unlock()
		return false
	}
	if s.bytes+o.size() > s.b.cfg.QueueBytes && o.done == nil {
		s.dropped++
		first := s.dropped == 1
		s.mu.Unlock()
		s.b.stats.Dropped.Add(1)
		if first {
			s.b.log.Warn("subscriber does not keep up, dropping its copies", "client", s.id)
		}
		return false
	}
	s.ringOf(&o).push(o)
	s.bytes += o.size()
	c := s.conn
	s.mu.Unlock()
	if c != nil {
		c.signal()
	}
	return true
}

// ack handles an acknowledgement from the client.
func (c *conn) ack(packet []byte) error {
	a, fault := wire.DecodeAck(c.version, packet)
	if fault != nil {
		return c.fault(fault)
	}
	if a.Type == wire.PUBREL {
		c.released(a.ID)
		return nil
	}
	s := c.session
	s.mu.Lock()
	f, ok := s.flights[a.ID]
	if a.Type == wire.PUBREC && a.Reason < wire.UnspecifiedError {
		s.mu.Unlock()
		return c.received(a.ID, f, ok)
	}
	if !ok {
		s.mu.Unlock()
		return nil // an old acknowledgement, MQTT-4.3.2 allows it
	}
	if (a.Type == wire.PUBACK) != (f.qos == 1) || (a.Type == wire.PUBCOMP) != f.rel && a.Type != wire.PUBREC {
		s.mu.Unlock()
		return c.fault(&wire.Fault{Code: wire.ProtocolError, Clause: "4.3", Reason: "acknowledgement of the wrong type for this packet id"})
	}
	delete(s.flights, a.ID)
	s.mu.Unlock()
	c.complete(a, f)
	c.signal() // the window has room
	return nil
}

// complete settles one finished flight.
func (c *conn) complete(a wire.Ack, f flight) {
	s := c.session
	failed := a.Reason >= wire.UnspecifiedError
	switch {
	case f.done != nil && failed:
		f.done(ErrRefused)
	case f.done != nil:
		f.done(nil)
	case f.rel && a.ID <= queueIDs:
		s.mu.Lock()
		delete(s.release, a.ID)
		s.mu.Unlock()
		c.b.put(nil, message.Record{Bucket: bucketRelease, Key: s.packetKey(a.ID)})
	case f.seq != 0 && failed:
		s.queue.Settle(f.seq, message.Dropped, "refused by subscriber")
	case f.seq != 0 && f.qos == 1:
		s.settled = append(s.settled, f.seq)
	}
}

// received handles PUBREC: the message is the client's, PUBREL follows. For a
// durable session PUBREL leaves only after the queue has let go of the message,
// else a crash between the two would deliver it twice.
func (c *conn) received(id uint16, f flight, known bool) error {
	s := c.session
	if !known { // MQTT 5.0, 4.3.3: answer with "not found"; 3.1.1 clients get their PUBREL
		c.control(func(dst []byte) []byte {
			return wire.AppendAck(dst, c.version, wire.PUBREL, id, wire.PacketIDNotFound)
		})
		return nil
	}
	if f.qos != 2 {
		return c.fault(&wire.Fault{Code: wire.ProtocolError, Clause: "4.3", Reason: "PUBREC for a message that is not QoS 2"})
	}
	release := func() {
		c.control(func(dst []byte) []byte { return wire.AppendAck(dst, c.version, wire.PUBREL, id, wire.Success) })
	}
	s.mu.Lock()
	s.flights[id] = flight{qos: 2, rel: true, done: f.done}
	if f.seq != 0 {
		s.release[id] = true
	}
	s.mu.Unlock()
	if f.seq == 0 {
		release()
		return nil
	}
	s.queue.Settle(f.seq, message.Delivered, "")
	c.b.put(func(err error) {
		if err != nil {
			c.abort() // not durable: the client asks again on its next connection
			return
		}
		release()
	}, message.Record{Bucket: bucketRelease, Key: s.packetKey(id), Value: []byte{1}})
	return nil
}

// settleAcks hands the run's delivered sequences to the queue together.
func (s *session) settleAcks() {
	for _, seq := range s.settled {
		s.queue.Settle(seq, message.Delivered, "")
	}
	s.settled = s.settled[:0]
}

// knows says whether a QoS 2 packet id is already taken and not yet released.
func (s *session) knows(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.received[id]
	return ok
}

// receive remembers a QoS 2 packet id; for a durable session the record goes
// into the same commit as the message.
func (s *session) receive(records []message.Record, id uint16) []message.Record {
	s.mu.Lock()
	s.received[id] = false
	s.mu.Unlock()
	if s.queue == nil {
		return records
	}
	return append(records, message.Record{Bucket: bucketReceive, Key: s.packetKey(id), Value: []byte{1}})
}

func (s *session) forget(id uint16) {
	s.mu.Lock()
	delete(s.received, id)
	s.mu.Unlock()
}

// released handles PUBREL: the id is free again, PUBCOMP says so. A durable
// session forgets the id durably first, else a crash could take the id's next
// message for a repetition of this one.
func (c *conn) released(id uint16) {
	s := c.session
	known := s.knows(id)
	finish := func(code byte) {
		c.control(func(dst []byte) []byte { return wire.AppendAck(dst, c.version, wire.PUBCOMP, id, code) })
	}
	if !known {
		finish(wire.PacketIDNotFound)
		return
	}
	gone := func(err error) {
		if err != nil {
			c.abort()
			return
		}
		s.forget(id)
		c.unacked.Add(-1)
		finish(wire.Success)
	}
	if s.queue == nil {
		gone(nil)
		return
	}
	c.b.put(gone, message.Record{Bucket: bucketReceive, Key: s.packetKey(id)})
}

// packetKey is the record key of one packet id: the client id, NUL, the id.
func (s *session) packetKey(id uint16) string {
	return s.id + "\x00" + string(binary.BigEndian.AppendUint16(nil, id))
}

func parsePacketKey(key string) (client string, id uint16, ok bool) {
	i := strings.LastIndexByte(key[:max(0, len(key)-2)], 0)
	if i < 0 || len(key)-i != 3 {
		return "", 0, false
	}
	return key[:i], binary.BigEndian.Uint16([]byte(key[i+1:])), true
}

// put writes records if there is somewhere to write them; done may be nil.
func (b *Broker) put(done func(error), r ...message.Record) {
	if done == nil {
		done = func(err error) {
			if err != nil {
				b.log.Error("session record not stored", "err", err)
			}
		}
	}
	if b.records == nil {
		done(nil)
		return
	}
	b.records.Put(done, r...)
}

// ring is a FIFO of outs that gives its memory back when it empties.
type ring struct {
	buf  []out
	head int
}

func (r *ring) push(o out) { r.buf = append(r.buf, o) }
func (r *ring) len() int   { return len(r.buf) - r.head }

func (r *ring) pop() out {
	o := r.buf[r.head]
	r.buf[r.head] = out{}
	r.head++
	switch {
	case r.head == len(r.buf):
		if cap(r.buf) > 1024 {
			r.buf = nil
		}
		r.buf, r.head = r.buf[:0], 0
	case r.head >= 4096 && r.head*2 >= len(r.buf):
		r.buf = append(r.buf[:0], r.buf[r.head:]...)
		r.head = 0
	}
	return o
}

func (r *ring) drain() []out {
	rest := append([]out(nil), r.buf[r.head:]...)
	r.buf, r.head = nil, 0
	return rest
}

