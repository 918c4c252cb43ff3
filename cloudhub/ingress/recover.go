package ingress

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/penstock-io/penstock/cloudhub/stream"
)

// load builds the index from the snapshot and the stream behind it.
func (g *Ingress) load(ctx context.Context) error {
	st, err := g.stream.State(ctx)
	if err != nil {
		return err
	}
	g.index = newIndex(newRecent(g.cfg.IDWindow, g.cfg.IDs), g.cfg.IndexBytes)
	g.created = st.Created
	snap, err := readSnapshot(g.cfg.Snapshot)
	switch {
	case err != nil:
		g.log.Warn("index snapshot is not usable, reading the whole stream", "err", err)
	case snap == nil:
	case snap.created != st.Created.UnixNano() || snap.last > st.Last:
		g.log.Warn("index snapshot belongs to another state of the stream, reading the whole stream",
			"covers", snap.last, "last", st.Last)
	default:
		snap.into(g.index)
	}
	return g.replay(ctx)
}

// replay reads the stream behind what the index covers, and before that, for
// message ids only, as much as the window of ids may hold.
func (g *Ingress) replay(ctx context.Context) error {
	from := g.index.last + 1
	from -= min(from, uint64(g.cfg.IDs))
	return g.read(ctx, from)
}

func (g *Ingress) read(ctx context.Context, from uint64) error {
	st, err := g.stream.Headers(ctx, from, func(s *stream.Stored) error {
		g.learn(s)
		return nil
	})
	if err != nil {
		return err
	}
	if !st.Created.Equal(g.created) || st.Last < g.index.last {
		return g.rebuild(ctx, st)
	}
	g.index.mu.Lock()
	g.index.last = st.Last
	g.index.mu.Unlock()
	return nil
}

// rebuild begins again when the stream is not the one the index describes: it
// was recreated, or its server lost the end of it.
func (g *Ingress) rebuild(ctx context.Context, st stream.State) error {
	g.log.Error("the stream has lost messages it had acknowledged, index is rebuilt from what it holds",
		"last", st.Last, "known", g.index.last)
	fresh := newIndex(newRecent(g.cfg.IDWindow, g.cfg.IDs), g.cfg.IndexBytes)
	g.index.mu.Lock()
	g.index.sources, g.index.devices, g.index.recent = fresh.sources, fresh.devices, fresh.recent
	g.index.bytes, g.index.last, g.index.direct, g.index.repeated = 0, 0, 0, 0
	g.index.mu.Unlock()
	g.created = st.Created
	return g.read(ctx, 1)
}

// learn takes one stored message into the index and, if it is of an attempt
// whose answer was lost, into that attempt's entry.
func (g *Ingress) learn(s *stream.Stored) {
	if id, i := stamped(s.Header); id != "" {
		if es := g.flying[id]; i >= 0 && i < len(es) {
			es[i].fate = stored
		}
	}
	o, err := stream.DecodeOrigin(s.Header)
	if err != nil {
		return // somebody else's message on our subjects; it has no origin to keep
	}
	var key digest
	if o.Seq == 0 {
		key = storedDigest(s.Header)
	}
	g.index.mu.Lock()
	defer g.index.mu.Unlock()
	if s.Seq > g.index.last {
		g.index.store(o, key, s.Received.UnixMilli(), s.Seq)
		g.index.last = s.Seq
	} else if key != (digest{}) {
		g.index.recent.add(key, s.Received.UnixMilli())
	}
}

// storedDigest returns the digest of a message from its headers alone.
func storedDigest(h nats.Header) (d digest) {
	if v := h[stream.HeaderDigest]; stream.Spilled(h) {
		if len(v) > 0 && len(v[0]) == hex.EncodedLen(len(d)) {
			if b, err := hex.DecodeString(v[0]); err == nil {
				d = digest(b)
			}
		}
		return d
	}
	if m, err := stream.Decode(h, nil); err == nil {
		d = digestOf(&m)
	}
	return d
}

// catchUp reads what the stream holds behind the index, until that succeeds or
// ctx ends. At once tells that the server is there: no wait before the first try.
func (g *Ingress) catchUp(ctx context.Context, atOnce bool) {
	wait := minWait
	for ctx.Err() == nil {
		if !atOnce {
			if !sleep(ctx, wait/2+rand.N(wait/2)) {
				return
			}
			wait = min(2*wait, maxWait)
		}
		atOnce = false
		err := g.read(ctx, g.index.last+1)
		if err == nil || ctx.Err() != nil {
			return
		}
		g.unavailable(err)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// unavailable notes a fault for Status and logs the first of a row. A conflict
// is none: the stream answered.
func (g *Ingress) unavailable(err error) {
	if errors.Is(err, errConflict) {
		return
	}
	g.mu.Lock()
	first := g.fault == nil
	if g.fault = err; first {
		g.since = time.Now()
	}
	g.mu.Unlock()
	g.metrics.faults.Inc()
	if first {
		g.log.Warn("stream does not take messages, nothing is acknowledged until it does", "err", err)
	}
}

func (g *Ingress) available() {
	g.mu.Lock()
	was, since := g.fault, g.since
	g.fault = nil
	g.mu.Unlock()
	if was != nil {
		g.log.Info("stream takes messages again", "took", time.Since(since).Round(time.Millisecond))
	}
}

// Status is the ingress's health.
type Status struct {
	Waiting      int // batches not yet taken up
	WaitingBytes int // of messages not acknowledged yet
	Fault        string
	Since        time.Time // of the fault
	Restored     []string  // edge hubs refused with ErrRestored since the start, at most maxNamed
}

// maxNamed bounds the edge hubs that a status names.
const maxNamed = 16

// Status reports the health; Fault is empty when the stream takes messages.
func (g *Ingress) Status() Status {
	s := Status{Restored: g.index.restored()}
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Waiting, s.WaitingBytes = len(g.queue), g.bytes
	if g.fault != nil {
		s.Fault, s.Since = fmt.Sprint(g.fault), g.since
	}
	return s
}
