// Package router takes responsibility for messages and gets them delivered.
//
// Accept asks the rules which queues want each message of a batch, encodes it
// once, and appends the batch to the store in one request; the sender hears of
// it after the synced commit. A pump per queue leases a window of messages and
// hands them to the queue's Sink, settles what was delivered, tries again what
// failed, and buries what can never be delivered. The ledger counts both ends.
//
// Promises: a message is acknowledged only when it is in every queue it was
// routed to. Deliveries of one source and priority keep their order, also across
// retries. A consumer that stalls or fails holds up its own queue only. What a
// sender repeats within the window, with the same message id and body or, if it is
// a hub, under the same origin, is appended once.
//
// The router never looks into messages itself, never drops one without counting
// it, and knows nothing of MQTT or of what is behind a sink. All methods of
// Router are safe for concurrent use. Accept takes no lock unless messages carry
// ids, and then none across I/O; rule sets are swapped under load. Run owns the
// pumps: one goroutine each.
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/store"
)

const (
	sweepEvery = 10 * time.Second // how often records of forgotten message ids are deleted
	sweepBatch = 1000             // records in one commit
)

// Config of a Router. Zero values take the defaults named with each field.
type Config struct {
	// RepeatWindow is how long a message id is remembered; 10 min. Negative: never.
	RepeatWindow time.Duration
	// RepeatMax bounds how many ids are remembered, the oldest leave first;
	// 200,000, which take about 20 MB.
	RepeatMax int
	// DrainTime is how long Run, once told to stop, waits for the answers to
	// deliveries under way; 5 s.
	DrainTime time.Duration
	// Refusal translates the error that a sender hears when its message was not
	// stored, so that the broker finds the sentinels it knows. Default: unchanged.
	Refusal func(error) error

	Log *slog.Logger
	Now func() time.Time // time.Now
}

func (c *Config) defaults() {
	if c.RepeatWindow == 0 {
		c.RepeatWindow = 10 * time.Minute
	}
	if c.RepeatMax <= 0 {
		c.RepeatMax = 200_000
	}
	if c.DrainTime <= 0 {
		c.DrainTime = 5 * time.Second
	}
	if c.Refusal == nil {
		c.Refusal = func(err error) error { return err }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Router joins rules, store and sinks. It implements the broker's Acceptor.
type Router struct {
	cfg      Config
	store    *store.Store
	sinks    Sinks
	rules    atomic.Pointer[ruleSet]
	requests sync.Pool
	seen     *seen // nil: message ids are not looked at
	count    counters
	rates    rates

	mu      sync.Mutex // pumps and their start; never held during I/O
	pumps   map[string]*pump
	running context.Context // of Run; nil before
	stopped bool
	wg      sync.WaitGroup
}

// counters of what the queues' accounts cannot know.
type counters struct {
	received, unrouted, duplicates, refused atomic.Uint64
}

// New returns a router over an open store. It loads the message ids of the last
// window and starts nothing; until Swap brings rules, messages go to sessions only.
func New(cfg Config, st *store.Store, sinks Sinks) (*Router, error) {
	cfg.defaults()
	r := &Router{cfg: cfg, store: st, sinks: sinks, pumps: make(map[string]*pump)}
	r.requests.New = r.newRequest
	if cfg.RepeatWindow > 0 {
		r.seen = newSeen(cfg.RepeatWindow, cfg.RepeatMax)
		if err := st.Records(seenBucket, r.seen.load); err != nil {
			return nil, fmt.Errorf("load message ids: %w", err)
		}
	}
	return r, nil
}

// Swap puts a compiled rule set in force for every batch accepted from now on and
// starts pumps for the queues it names. Queues that no rule names any more keep
// being drained. After an error the rules in force stay.
func (r *Router) Swap(rules Rules) error {
	for _, name := range rules.Queues() {
		if err := r.ensure(name); err != nil {
			return err
		}
	}
	r.rules.Store(newRuleSet(rules))
	return nil
}

// ensure gives a queue its pump, if the resolver knows a sink for it.
func (r *Router) ensure(queue string) error {
	if isSession(queue) || r.pumped(queue) {
		return nil
	}
	sink, cfg, ok := r.sinks(queue)
	if !ok {
		return nil
	}
	if err := r.Attach(queue, sink, cfg); !errors.Is(err, ErrAttached) {
		return err
	}
	return nil // somebody was faster
}

// Attach starts pumping a queue to a sink, now if Run is under way, else when it
// begins. The pump lives until Run ends.
func (r *Router) Attach(queue string, sink Sink, cfg PumpConfig) error {
	q, err := r.store.Queue(queue)
	if err != nil {
		return fmt.Errorf("attach pump to queue %s: %w", queue, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopped:
		return fmt.Errorf("attach pump to queue %s: %w", queue, ErrStopped)
	case r.pumps[queue] != nil:
		return fmt.Errorf("attach pump to queue %s: %w", queue, ErrAttached)
	}
	p := newPump(queue, q, sink, cfg, r.cfg.DrainTime, r.cfg.Log)
	r.pumps[queue] = p
	if r.running != nil {
		r.start(p)
	}
	return nil
}

// start needs mu.
func (r *Router) start(p *pump) {
	ctx := r.running
	r.wg.Go(func() { p.run(ctx) })
}

func (r *Router) pumped(queue string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pumps[queue] != nil
}

// Wake tells the pump of a queue that its consumer may be back or that messages
// were put back into it, so that it does not sit out its pause. A queue that has
// no pump gets one, if the resolver knows a sink: one that no rule names any more,
// and that held nothing when Run began, has none until then.
func (r *Router) Wake(queue string) {
	if err := r.ensure(queue); err != nil && !errors.Is(err, ErrStopped) {
		r.cfg.Log.Error("queue without a pump", "queue", queue, "err", err)
	}
	r.mu.Lock()
	p := r.pumps[queue]
	r.mu.Unlock()
	if p != nil {
		p.poke()
	}
}

// Run pumps until ctx ends, then waits for the deliveries under way, at most
// Config.DrainTime. Queues that hold messages from before are pumped too, even if
// no rule names them. Call it once.
func (r *Router) Run(ctx context.Context) error {
	for _, a := range r.store.Ledger() {
		if a.Queued > 0 {
			if err := r.ensure(a.Queue); err != nil {
				return err
			}
		}
	}
	r.mu.Lock()
	r.running = ctx
	for _, p := range r.pumps {
		r.start(p)
	}
	r.mu.Unlock()
	r.keep(ctx)
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}

// keep deletes the records of forgotten message ids until
// ctx ends.
func (r *Router) keep(ctx context.Context) {
	if r.seen == nil {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		for rs := range slices.Chunk(r.seen.sweep(r.now()), sweepBatch) {
			r.store.Put(r.kept, rs...)
		}
	}
}

func (r *Router) kept(err error) {
	if err != nil {
		r.cfg.Log.Warn("message ids not updated", "err", err)
	}
}
