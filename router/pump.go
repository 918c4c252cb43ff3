package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/penstock-io/penstock/internal/backoff"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// pump moves the messages of one queue to one sink. It works in stretches: a
// stretch leases and delivers until a delivery fails transiently, then waits for
// everything under way, gives the leases back and, after a pause, the next
// stretch begins with the oldest message that is not settled.
//
// One goroutine runs it. Answers come from any goroutine into answers under mu.
type pump struct {
	q     Queue
	sink  Sink
	cfg   PumpConfig
	log   *slog.Logger
	drain time.Duration // how long a stop waits for what is under way

	wake     chan struct{} // the consumer may be back
	answered chan struct{} // answers is not empty

	mu       sync.Mutex
	answers  []answer
	failed   error // the first transient failure of the stretch
	cancel   context.CancelFunc
	rejected map[uint64]int // answers ErrRejected by sequence, of messages not settled

	// The pump's goroutine only.
	inFlight int
	free     []*slot
	leased   []message.Delivery
	done     []answer
	seqs     []uint64
	mix      mix
	backoff  backoff.Backoff
	down     bool // an interruption was logged
	closed   bool // the queue is gone
}

func newPump(name string, q Queue, sink Sink, cfg PumpConfig, drain time.Duration, log *slog.Logger) *pump {
	cfg.defaults()
	return &pump{
		q: q, sink: sink, cfg: cfg, drain: drain,
		log:      log.With("queue", name),
		wake:     make(chan struct{}, 1),
		answered: make(chan struct{}, 1),
		cancel:   func() {},
		rejected: make(map[uint64]int),
		mix:      newMix(q, cfg.Lanes),
		backoff:  backoff.Backoff{Base: cfg.RetryBase, Max: cfg.RetryMax},
	}
}

// run pumps until ctx ends or the queue is closed.
func (p *pump) run(ctx context.Context) {
	p.mix.split()
	for ctx.Err() == nil && !p.closed {
		err := p.stretch(ctx)
		p.q.Rewind()
		if ctx.Err() != nil || p.closed {
			return
		}
		if !p.down && !errors.Is(err, ErrRejected) {
			p.down = true
			p.log.Warn("delivery interrupted", "err", err)
		}
		p.pause(ctx)
		if !errors.Is(err, ErrRejected) {
			p.mix.split()
		}
	}
}

func (p *pump) pause(ctx context.Context) {
	t := time.NewTimer(p.backoff.Next())
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.wake:
		p.backoff.Reset()
	case <-ctx.Done():
	}
}

// stretch delivers until a transient failure, which it returns when nothing is
// under way any more, or until ctx ends.
func (p *pump) stretch(ctx context.Context) error {
	// An answer ends run before done returns, so that no later delivery can
	// overtake the one that failed.
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	p.failed, p.cancel = nil, cancel
	p.mu.Unlock()
	for run.Err() == nil {
		if err := p.fill(run); err != nil {
			p.fail(err)
			break
		}
		select {
		case <-p.answered:
			p.settle()
		case <-p.ready():
		case <-run.Done():
		}
	}
	p.await(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// ready is the queue's signal while the window has room for what it announces.
func (p *pump) ready() <-chan struct{} {
	if p.room() == 0 {
		return nil
	}
	return p.q.Ready()
}

// room is how much to lease. A lease costs nearly the same for one message as
// for many: none is made before a quarter of the window is free.
func (p *pump) room() int {
	n := p.cfg.Window - p.inFlight
	if n < (p.cfg.Window+3)/4 {
		return 0
	}
	return n
}

// fill starts deliveries until the window is full or the queue is empty.
func (p *pump) fill(ctx context.Context) error {
	for n := p.room(); n > 0 && ctx.Err() == nil; n = p.room() {
		var err error
		p.leased, err = p.mix.lease(p.leased[:0], n)
		if errors.Is(err, store.ErrClosed) {
			p.closed = true
		}
		if err != nil {
			return fmt.Errorf("lease: %w", err)
		}
		if len(p.leased) == 0 {
			return nil
		}
		for i := range p.leased {
			if ctx.Err() != nil {
				return nil // Rewind brings the rest back
			}
			p.start(ctx, &p.leased[i])
		}
		clear(p.leased)
		p.settle()
	}
	return nil
}

func (p *pump) start(ctx context.Context, d *message.Delivery) {
	if d.Expire != 0 && d.Expire <= time.Now().UnixMilli() {
		p.q.Settle(d.Seq, message.Expired, "")
		return
	}
	s := p.slot()
	s.d = *d
	turn := s.turn
	p.inFlight++
	p.sink.Deliver(ctx, &s.d, func(err error) { p.answer(s, turn, err) })
}

// poke says that the consumer may be back. It never waits.
func (p *pump) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
