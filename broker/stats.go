package broker

import "sync/atomic"

// Stats counts what the broker saw since it was created.
type Stats struct {
	Connections atomic.Int64  // sessions connected now
	Accepted    atomic.Uint64 // messages handed to the Acceptor
	Delivered   atomic.Uint64 // PUBLISH packets written to clients
	Refused     atomic.Uint64 // sockets and CONNECTs refused
	Malformed   atomic.Uint64 // connections ended for a packet the specification forbids
	Unpublished atomic.Uint64 // publishes refused: topic, authorisation, size, quota
	Dropped     atomic.Uint64 // live copies dropped because the subscriber did not read
	Panics      atomic.Uint64 // connections ended by a recovered panic
}

// Stats returns the live counters.
func (b *Broker) Stats() *Stats { return &b.stats }
