package broker

import (
	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/message"
)

// ack handles an acknowledgement from the client.
func (c *conn) ack(packet []byte) error {
	a, fault := wire.DecodeAck(c.version, packet)
	if fault != nil {
		return c.fault(fault)
	}
	if a.Type == wire.PUBREL {
		return c.released(a.ID)
	}
	s := c.session
	s.mu.Lock()
	f, known := s.flights[a.ID]
	if known && wrongAck(a.Type, f) {
		s.mu.Unlock()
		return c.fault(&wire.Fault{Code: wire.ProtocolError, Clause: "4.3", Reason: "acknowledgement of the wrong type for this packet id"})
	}
	if a.Type == wire.PUBREC && a.Reason < wire.UnspecifiedError {
		s.mu.Unlock()
		c.received(a.ID, f, known)
		return nil
	}
	delete(s.flights, a.ID)
	s.mu.Unlock()
	if known { // otherwise an old one, which 4.3.2 allows
		c.complete(a, f)
		c.signal() // the window has room
	}
	return nil
}

// wrongAck holds acknowledgements to their flow (section 4.3).
func wrongAck(kind byte, f flight) bool {
	switch kind {
	case wire.PUBACK:
		return f.qos != 1
	case wire.PUBREC:
		return f.qos != 2
	}
	return !f.rel // PUBCOMP
}

// complete settles one finished flight.
func (c *conn) complete(a wire.Ack, f flight) {
	s := c.session
	failed := a.Reason >= wire.UnspecifiedError
	switch {
	case f.rel:
		s.forgetRelease(a.ID)
	case f.done != nil && failed:
		f.done(ErrRefused)
	case f.done != nil:
		f.done(nil)
	case f.seq != 0 && failed:
		s.queue.Settle(f.seq, message.Dropped, "refused by subscriber")
	case f.seq != 0:
		s.settled = append(s.settled, f.seq)
	}
}

// settleAcks hands the run's delivered sequences to the queue together.
func (s *session) settleAcks() {
	for _, seq := range s.settled {
		s.queue.Settle(seq, message.Delivered, "")
	}
	s.settled = s.settled[:0]
}

// answered gives the client one publish of its quota back. A PUBREL of an
// earlier connection does not raise it above the maximum (4.9).
func (c *conn) answered() {
	for {
		n := c.unacked.Load()
		if n <= 0 || c.unacked.CompareAndSwap(n, n-1) {
			return
		}
	}
}
