package broker

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/message"
)

const (
	sessionRule = "session"  // the ledger account of persistent sessions
	queuePrefix = "session/" // their queues' names
	queueIDs    = 32767      // packet ids 1…queueIDs follow from queue sequences
)

// session is what the broker knows of one client id, from its first CONNECT
// until its expiry. A clean session lives as long as its connection.
type session struct {
	b          *Broker
	id         string
	life       uint32 // tells this session's packet ids from those of an earlier one with the same client id
	queue      Queue  // persistent sessions on a device; nil: from memory only
	persistent bool

	// Guarded by sessions.mu.
	owner   string // the identity the session belongs to
	version byte
	expiry  uint32      // seconds
	stored  []byte      // its record as last written
	timer   *time.Timer // runs while nobody is connected

	online atomic.Bool

	mu       sync.Mutex
	conn     *conn
	qos0     ring // QoS 0 is not held up by the window
	qos12    ring
	bytes    int // of both rings
	flights  map[uint16]flight
	sent     uint64 // numbers the flights
	nextID   uint16
	release  map[uint16]release
	received map[uint16]bool // the client's QoS 2 ids that wait for PUBREL; true: accepted
	dropped  uint64
	settled  []uint64 // delivered sequences of the reader's present run
}

// flight is one delivery that awaits the client's acknowledgement.
type flight struct {
	seq  uint64 // of the session's queue; 0: from memory
	n    uint64 // order of sending
	msg  *out   // what to send again on the next connection, when no queue keeps it
	done func(error)
	qos  byte
	rel  bool // PUBREL is out, or waits for the commit before it
}

// release is a packet id whose PUBREC has come and whose PUBCOMP has not.
type release struct {
	n    uint64 // order of PUBREC
	safe bool   // a crash does not forget it: PUBREL may leave
}

func newSession(b *Broker, id string, persistent bool) *session {
	return &session{
		b: b, id: id, persistent: persistent,
		flights: make(map[uint16]flight), release: make(map[uint16]release), received: make(map[uint16]bool),
	}
}

func (s *session) queueName() string { return queuePrefix + s.id }
func (s *session) connected() bool   { return s.online.Load() }

// durable says whether messages of this QoS reach the session through its queue.
func (s *session) durable(qos byte) bool { return s.queue != nil && qos > 0 }

// attach makes c the session's connection; from now on messages flow. PUBREL
// that were not answered go first, in the order of their PUBREC (MQTT-4.4.0-1,
// MQTT-4.6.0-4).
func (s *session) attach(c *conn) {
	if s.queue != nil {
		s.queue.Rewind()
	}
	s.mu.Lock()
	s.conn = c
	ids := slices.Collect(maps.Keys(s.release))
	slices.SortFunc(ids, func(x, y uint16) int { return cmp.Or(cmp.Compare(s.release[x].n, s.release[y].n), cmp.Compare(x, y)) })
	var unsafe []uint16
	for _, id := range ids {
		s.flights[id] = flight{qos: 2, rel: true}
		if !s.release[id].safe {
			unsafe = append(unsafe, id)
		}
	}
	s.mu.Unlock()
	s.online.Store(true)
	for _, id := range ids {
		if !slices.Contains(unsafe, id) {
			c.pubrel(id, wire.Success)
		}
	}
	for _, id := range unsafe {
		c.releaseSafely(id)
	}
	c.filling.Lock()
	c.sending = s
	c.filling.Unlock()
	c.signal()
}

// detach takes c off. Direct deliveries under way are answered; what came from
// the queue is there still and comes again; what a persistent session had in
// memory waits for its next connection.
func (s *session) detach(c *conn) {
	c.filling.Lock()
	c.sending = nil
	c.filling.Unlock()
	s.mu.Lock()
	if s.conn != c {
		s.mu.Unlock()
		return
	}
	s.conn = nil
	s.online.Store(false)
	lost := s.halt()
	s.mu.Unlock()
	for _, done := range lost {
		done(ErrDisconnected)
	}
	if s.queue != nil {
		s.queue.Rewind()
	}
}

// halt empties flights and rings but for what the next connection shall get. It
// returns whom to tell that their delivery failed. Needs mu.
func (s *session) halt() (lost []func(error)) {
	var again []flight
	for _, f := range s.flights {
		switch {
		case f.done != nil:
			lost = append(lost, f.done)
		case f.msg != nil && !f.rel:
			again = append(again, f)
		}
	}
	clear(s.flights)
	slices.SortFunc(again, func(x, y flight) int { return cmp.Compare(x.n, y.n) })
	waiting := s.qos12.drain()
	for _, o := range append(s.qos0.drain(), waiting...) {
		if o.done != nil {
			lost = append(lost, o.done)
		}
	}
	s.bytes = 0
	if !s.persistent || s.queue != nil {
		return lost
	}
	for _, f := range again {
		s.keep(*f.msg)
	}
	for _, o := range waiting {
		if o.done == nil {
			s.keep(o)
		}
	}
	return lost
}

func (s *session) keep(o out) {
	s.qos12.push(o)
	s.bytes += o.size()
}

// push queues one live copy in memory. A session that does not keep up loses
// new copies, counted; it slows nobody. false: the copy was not taken.
func (s *session) push(o out) bool {
	s.mu.Lock()
	c := s.conn
	if c == nil && (o.done != nil || o.qos == 0 || !s.persistent || s.queue != nil) {
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
	r := &s.qos12
	if o.qos == 0 {
		r = &s.qos0
	}
	if r.len() >= backlog && !o.own && o.done == nil {
		o.detach()
	}
	r.push(o)
	s.bytes += o.size()
	s.mu.Unlock()
	if c != nil {
		c.signal()
	}
	return true
}

// backlog is how many messages of a slow session may share the memory of the
// runs they came in. A run is up to a read buffer long, and one small message
// keeps all of it alive.
const backlog = 256

// out is one message on its way to a session from memory.
type out struct {
	msg    *message.Message
	topic  string // the topic to send on, when not msg.Topic
	qos    byte
	retain bool
	own    bool        // msg shares no memory with others that may go first
	id     uint16      // of an earlier attempt; 0: none
	ids    []byte      // encoded subscription identifiers
	done   func(error) // direct deliveries only: answered once
}

// size is what the message costs the session; a retained one is there anyway.
func (o *out) size() int {
	if o.retain && o.own {
		return 128
	}
	return len(o.msg.Body) + len(o.msg.Topic) + 128
}

// detach gives the message memory of its own.
func (o *out) detach() {
	if m, err := message.Decode(message.Append(nil, o.msg)); err == nil { // our own encoding reads back
		o.msg, o.own = &m, true
	}
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
		n := copy(r.buf, r.buf[r.head:])
		clear(r.buf[n:])
		r.buf, r.head = r.buf[:n], 0
	}
	return o
}

func (r *ring) drain() []out {
	rest := append([]out(nil), r.buf[r.head:]...)
	r.buf, r.head = nil, 0
	return rest
}
