package broker

import (
	"encoding/binary"
	"strings"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/message"
)

// Exactly once needs both sides to remember packet ids, here in two buckets:
// ids of the client's messages from their commit to PUBREL, and ids of ours from
// PUBREC to PUBCOMP. A record's key is the client id, NUL, the session's life and
// the packet id.
const (
	bucketReceived = "mqtt-received"
	bucketRelease  = "mqtt-release"
)

// received handles PUBREC: the message is the client's, PUBREL follows. For a
// durable session PUBREL leaves only when a crash can no longer bring the
// message back, and the id is on record.
func (c *conn) received(id uint16, f flight, known bool) {
	if !known {
		c.pubrel(id, wire.PacketIDNotFound) // 4.3.3; to 3.1.1 it is a plain PUBREL
		return
	}
	s := c.session
	s.mu.Lock()
	s.flights[id] = flight{qos: 2, rel: true}
	r, again := s.release[id]
	if !again {
		s.sent++
		r = release{n: s.sent, safe: f.seq == 0}
		s.release[id] = r
	}
	s.mu.Unlock()
	if f.seq != 0 {
		s.queue.Settle(f.seq, message.Delivered, "", s.releaseRecord(id))
	}
	if r.safe {
		c.pubrel(id, wire.Success)
		return
	}
	c.releaseSafely(id)
}

func (c *conn) pubrel(id uint16, code byte) {
	c.control(func(dst []byte) []byte { return wire.AppendAck(dst, c.version, wire.PUBREL, id, code) })
}

// releaseSafely sends PUBREL once the id is on record, and with it, because what
// comes later is committed later, the settlement before it.
func (c *conn) releaseSafely(id uint16) {
	s := c.session
	c.b.put(func(err error) {
		if err != nil {
			c.abort() // the client asks again on its next connection
			return
		}
		s.mu.Lock()
		if r, ok := s.release[id]; ok {
			r.safe = true
			s.release[id] = r
		}
		s.mu.Unlock()
		c.pubrel(id, wire.Success)
	}, s.releaseRecord(id))
}

func (s *session) releaseRecord(id uint16) message.Record {
	return message.Record{Bucket: bucketRelease, Key: s.packetKey(id), Value: []byte{1}}
}

// forgetRelease ends the flow of one of our messages. A lost deletion costs one
// PUBREL more after a restart.
func (s *session) forgetRelease(id uint16) {
	s.mu.Lock()
	delete(s.release, id)
	s.mu.Unlock()
	if s.queue != nil && id <= queueIDs {
		s.b.put(nil, message.Record{Bucket: bucketRelease, Key: s.packetKey(id)})
	}
}

// knows says whether a QoS 2 packet id of the client is taken and not yet
// released, and whether its message has been accepted.
func (s *session) knows(id uint16) (taken, accepted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	accepted, taken = s.received[id]
	return taken, accepted
}

// receive remembers a QoS 2 packet id of the client.
func (s *session) receive(id uint16) {
	s.mu.Lock()
	s.received[id] = false
	s.mu.Unlock()
}

func (s *session) accepted(id uint16) {
	s.mu.Lock()
	s.received[id] = true
	s.mu.Unlock()
}

// forget reports whether the id was there.
func (s *session) forget(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, taken := s.received[id]
	delete(s.received, id)
	return taken
}

// released handles PUBREL: the id is free again, PUBCOMP says so. A durable
// session forgets the id durably first, else a crash could take the id's next
// message for a repetition of this one.
func (c *conn) released(id uint16) error {
	s := c.session
	finish := func(code byte) {
		c.control(func(dst []byte) []byte { return wire.AppendAck(dst, c.version, wire.PUBCOMP, id, code) })
	}
	taken, accepted := s.knows(id)
	if !taken {
		finish(wire.PacketIDNotFound)
		return nil
	}
	if !accepted {
		return c.fault(&wire.Fault{Code: wire.ProtocolError, Clause: "MQTT-4.3.3-4", Reason: "PUBREL before PUBREC"})
	}
	gone := func(err error) {
		if err != nil {
			c.abort()
			return
		}
		if s.forget(id) {
			c.answered()
		}
		finish(wire.Success)
	}
	if s.queue == nil {
		gone(nil)
		return nil
	}
	c.b.put(gone, message.Record{Bucket: bucketReceived, Key: s.packetKey(id)})
	return nil
}

func (s *session) packetKey(id uint16) string {
	tail := binary.BigEndian.AppendUint32([]byte{0}, s.life)
	return s.id + string(binary.BigEndian.AppendUint16(tail, id))
}

func parsePacketKey(key string) (client string, life uint32, id uint16, ok bool) {
	client, tail := key[:max(0, len(key)-7)], key[max(0, len(key)-7):]
	if len(tail) != 7 || !strings.HasPrefix(tail, "\x00") {
		return "", 0, 0, false
	}
	return client, binary.BigEndian.Uint32([]byte(tail[1:])), binary.BigEndian.Uint16([]byte(tail[5:])), true
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
