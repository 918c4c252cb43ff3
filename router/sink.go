package router

import (
	"context"
	"strings"
	"time"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// Sink delivers the messages of one queue to its consumer.
//
// Deliver starts the delivery of d and returns; done is called once, at any
// time, from any goroutine, also from within Deliver: nil when the consumer has
// the message, otherwise an error of errors.go. d is valid until then.
//
// Deliver is called by one goroutine, in the order in which the consumer shall
// see the messages; what is promised is the order of each source, so a sink may
// send one ahead of another source's. ctx ends when the pump stops or as soon as an earlier
// delivery was answered with a transient failure: a sink does not hand a
// message to the wire once ctx has ended, it answers ErrUnavailable. A sink that
// loses its connection answers all that was under way before it starts a
// delivery on the next one. Together the two rules keep the order across
// failures without giving up the window.
type Sink interface {
	Deliver(ctx context.Context, d *message.Delivery, done func(error))
}

// SinkFunc is a function as a Sink.
type SinkFunc func(ctx context.Context, d *message.Delivery, done func(error))

// Deliver calls f.
func (f SinkFunc) Deliver(ctx context.Context, d *message.Delivery, done func(error)) {
	f(ctx, d, done)
}

// Sinks names the sink of a queue and how to pump it; false means that the
// queue is pumped by somebody else or not at all.
type Sinks func(queue string) (Sink, PumpConfig, bool)

// Queue is a durable queue as a pump sees it. Lease never waits; the queue's
// order is by priority, then by sequence.
type Queue interface {
	Lease(dst []message.Delivery, max int) ([]message.Delivery, error)
	Ready() <-chan struct{}
	Settle(seq uint64, o message.Outcome, cause string, with ...message.Record)
	SettleAll(seqs []uint64) // as delivered
	Rewind()                 // forget leases: what is not settled comes again
}

// lanes is a Queue that can be split into what waits and what comes.
type lanes interface {
	Split()
	LeaseLane(l store.Lane, dst []message.Delivery, max int) ([]message.Delivery, error)
}

// SessionPrefix begins the names of the queues of persistent MQTT sessions. The
// broker delivers them itself.
const SessionPrefix = "session/"

func isSession(queue string) bool { return strings.HasPrefix(queue, SessionPrefix) }

// PumpConfig says how one queue is delivered. Zero values take the defaults
// named with each field.
type PumpConfig struct {
	Window      int // deliveries under way at a time; 256
	MaxAttempts int // answers ErrRejected until a message is buried; 0: it is tried for ever

	RetryBase time.Duration // upper bound of the first wait after a failure; 200 ms
	RetryMax  time.Duration // upper bound of every wait; 30 s

	// Lanes shares the window after an outage between fresh messages and those
	// that waited. The zero value keeps strict order.
	Lanes Lanes
}

// Lanes is a ratio: of Live+Backlog deliveries, Live are fresh messages, as long
// as both wait. Strict order if either is zero.
type Lanes struct{ Live, Backlog int }

func (l Lanes) on() bool { return l.Live > 0 && l.Backlog > 0 }

func (c *PumpConfig) defaults() {
	if c.Window <= 0 {
		c.Window = 256
	}
}
