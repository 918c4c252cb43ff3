// Package uplink is a device's session with its parent hub: it sends what the
// router delivers to $upstream over one MQTT 3.1.1 connection, in order and many
// at a time, and keeps that connection alive.
//
// It promises that every delivery is answered exactly once: nil only after the
// parent's PUBACK, an error at once when the connection is lost. It keeps no
// message of its own; what it could not deliver is delivered again by
// the queue it came from, and the parent refuses by origin what it already had.
// A message on which the parent hangs up holds up the others for seconds, not for
// ever: once the parent is proven to take others, it is given up (see suspicion).
// A token is renewed before it ends, without a loss and without a gap: the new
// transport is dialled, sending pauses until nothing is in flight, and only then
// does the new session take the old one's place; MQTT 3.1.1 cannot authenticate
// a session again. The wall clock dates tokens and schedules nothing.
//
// Devices, modules and plain topics are told apart by the events topic and the
// properties of package iothub; one connection carries them all. It never
// subscribes to anything.
//
// All methods may be called concurrently. Per session, one goroutine publishes
// and one waits for acknowledgements; no lock is held during I/O or while an
// answer is given.
package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/penstock-io/penstock/internal/backoff"
	"github.com/penstock-io/penstock/iothub"
	"github.com/penstock-io/penstock/message"
)

// Uplink satisfies router.Sink.
type Uplink struct {
	cfg        Config
	log        *slog.Logger
	addresses  []*url.URL
	line       *line
	pace       *pace
	poke       chan struct{} // Cut or Restore was called
	background sync.WaitGroup

	// Run's own.
	backoff backoff.Backoff
	short   backoff.Backoff
	hurry   bool // the next pause is a short one
	silent  int  // index of the address that went silent, or -1

	mu          sync.Mutex
	cut         bool
	interrupt   context.CancelCauseFunc // ends the current round
	status      Status
	established bool // there was a session before
}

// New checks cfg and opens nothing.
func New(cfg Config, log *slog.Logger) (*Uplink, error) {
	cfg.setDefaults()
	addresses, err := cfg.parse()
	if err != nil {
		return nil, fmt.Errorf("configure uplink: %w", err)
	}
	return &Uplink{
		cfg: cfg, log: log, addresses: addresses, silent: -1,
		line: newLine(cfg.Window), pace: newPace(cfg.MessagesPerSecond, cfg.BytesPerSecond),
		poke: make(chan struct{}, 1), interrupt: func(error) {},
		backoff: backoff.Backoff{Base: cfg.MinBackoff, Max: cfg.MaxBackoff},
		short:   backoff.Backoff{Base: cfg.MinBackoff, Max: cfg.MinBackoff},
		status:  Status{State: Down, Since: time.Now()},
	}, nil
}

// Run keeps a session with the parent until ctx ends, and returns nil then. By
// that time every delivery is answered. Call it once.
func (u *Uplink) Run(ctx context.Context) error {
	defer u.background.Wait()
	for u.untilRestored(ctx) {
		round, cancel := context.WithCancelCause(ctx)
		if u.begin(cancel) {
			u.round(round)
		}
		cancel(nil)
		u.pause(ctx)
	}
	u.set(Down, func(s *Status) { s.Address = "" })
	return nil
}

// Deliver starts the delivery of d, which may not change before the answer, and
// waits only for a place in the window, and up to two seconds for a connection that
// the parent has just closed on a suspect (see suspicion). done is called exactly once, from any
// goroutine, and must not block: with nil after the parent's PUBACK, else with an
// error that wraps one of router's sentinels: ErrUnavailable without a connection
// or when it was lost before the PUBACK, ErrPermanent for a message or a topic
// that is too large, and for one on which the parent closes the connection, time
// after time, while it takes others.
//
// Deliveries made one after the other reach the parent in that order, but for the
// one that is sent ahead of a suspect to see whether the parent takes it; it keeps
// its place among those of its own device or module. A delivery
// whose ctx ends before it is sent is not sent any more; so a caller that ends
// the ctx of all its deliveries when the first comes back with ErrUnavailable,
// and starts again with that one, keeps the order across lost connections.
//
// d.Seq becomes the message's origin, in place of the one that a child hub gave
// it: what this hub resends, its parent refuses, whenever it comes. What the child
// resends, this hub's router recognises by the child's origin within its window
// (router.Config.RepeatWindow); later it is a new message here, with a new
// sequence, and the parent takes it a second time.
func (u *Uplink) Deliver(ctx context.Context, d *message.Delivery, done func(error)) {
	topic, err := u.topic(d)
	if err != nil {
		done(err)
		return
	}
	from := source{d.Device, d.Module}
	u.line.push(entry{ctx: ctx, seq: d.Seq, from: from, topic: topic, body: d.Body, done: done})
}

func (u *Uplink) topic(d *message.Delivery) (string, error) {
	if n := d.Size(); n > u.cfg.MaxMessage {
		return "", permanent("%d bytes of body and properties, the parent takes %d", n, u.cfg.MaxMessage)
	}
	m := d.Message
	m.Origin = message.Origin{Device: u.cfg.Device, Epoch: u.cfg.Epoch, Seq: d.Seq, Floor: min(u.cfg.Floor(), d.Seq)}
	topic := iothub.AppendEventsTopic(make([]byte, 0, 256), u.cfg.Device, &m)
	if len(topic) > iothub.MaxTopic {
		return "", permanent("its properties make a topic of %d bytes, limit %d", len(topic), iothub.MaxTopic)
	}
	return string(topic), nil
}

// Available returns a channel that is closed while deliveries are taken. Ask
// again after each ErrUnavailable: every session has its own.
func (u *Uplink) Available() <-chan struct{} { return u.line.available() }

// begin makes a round interruptible and reports whether the link may be up.
func (u *Uplink) begin(cancel context.CancelCauseFunc) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.interrupt = cancel
	return !u.cut
}

// round tries the addresses in turn and serves the first session that stands.
func (u *Uplink) round(ctx context.Context) {
	for _, i := range u.order() {
		to := u.addresses[i]
		u.set(Connecting, func(s *Status) { s.Address = to.String() })
		s, err := u.connect(ctx, to, nil)
		if err == nil {
			u.serve(ctx, s, i)
			return
		}
		if ctx.Err() != nil {
			return
		}
		u.log.Warn("cannot reach the parent", "peer", to.Host, "attempt", u.backoff.Attempt()+1, "err", err)
		u.set(Connecting, func(s *Status) { s.LastError = err.Error() })
	}
}

// order is the order of preference, but an address that went silent comes last:
// trying it costs the whole connect timeout.
func (u *Uplink) order() []int {
	all := make([]int, 0, len(u.addresses))
	for i := range u.addresses {
		if i != u.silent {
			all = append(all, i)
		}
	}
	if u.silent >= 0 {
		all = append(all, u.silent)
	}
	u.silent = -1
	return all
}

// serve keeps s, and the sessions that replace it, until one is lost or ctx ends.
func (u *Uplink) serve(ctx context.Context, s *session, address int) {
	u.connected(s)
	began := time.Now()
	acked, _ := u.line.progress()
	for {
		next, err := u.watch(ctx, s)
		if next != nil {
			s = next
			continue
		}
		s.end(err)
		u.background.Go(s.stop)
		u.lost(ctx, s)
		if isSilence(s.cause) {
			u.silent = address
		}
		break
	}
	u.hurry = u.line.soon()
	if now, _ := u.line.progress(); now > acked || time.Since(began) >= healthyAfter {
		u.backoff.Reset()
	}
}

// watch waits until s is replaced or has to end, and returns its successor or
// the cause.
func (u *Uplink) watch(ctx context.Context, s *session) (next *session, cause error) {
	renew := time.NewTimer(u.renewIn(s.made))
	defer renew.Stop()
	stall := time.NewTicker(u.cfg.AckTimeout)
	defer stall.Stop()
	before, waiting := u.line.progress()
	for {
		select {
		case <-s.ended:
			return nil, s.cause
		case <-ctx.Done():
			return nil, stopCause(ctx)
		case <-stall.C:
			acked, flying := u.line.progress()
			if waiting > 0 && flying > 0 && acked == before {
				return nil, fmt.Errorf("%w: no acknowledgement for %v", errSilent, u.cfg.AckTimeout)
			}
			before, waiting = acked, flying
		case <-renew.C:
			next, err := u.renew(ctx, s)
			if err == nil {
				return next, nil
			}
			u.log.Warn("cannot renew the token, the session goes on", "peer", s.to.Host, "err", err)
			renew.Reset(u.renewIn(s.made))
		}
	}
}

func stopCause(ctx context.Context) error {
	if context.Cause(ctx) == errCut {
		return errCut
	}
	return errStopped
}

// pause waits between two rounds, unless the link is not wanted. While a suspect
// is tried the wait does not grow: every round is one step of its trial.
func (u *Uplink) pause(ctx context.Context) {
	u.mu.Lock()
	if ctx.Err() != nil || u.cut {
		u.mu.Unlock()
		return
	}
	wait := &u.backoff
	if u.hurry {
		wait, u.hurry = &u.short, false
	}
	d := wait.Next()
	u.status.enter(Down)
	u.status.NextAttempt = time.Now().Add(d)
	u.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-u.poke:
	case <-ctx.Done():
	}
}
