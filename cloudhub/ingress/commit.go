package ingress

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

const (
	// maxChunk is the server's bound on an atomic batch, maxChunkBytes ours.
	maxChunk      = 1000
	maxChunkBytes = 8 << 20

	publishTimeout = 5 * time.Second
	minWait        = 20 * time.Millisecond
	maxWait        = 2 * time.Second

	// stampSize is what naming the commit adds to a message's headers, at most.
	stampSize = 256
)

type fate uint8

const (
	open fate = iota
	stored
	duplicate
	refused
)

// entry is one message of a chunk.
type entry struct {
	w    *waiting
	i    int
	m    *message.Message
	key  digest
	msg  *nats.Msg
	of   *entry // duplicate of this one in the same chunk
	fate fate
	err  error
}

// commit brings every message of the chunk to its fate, however long JetStream
// is away, unless ctx ends.
func (g *Ingress) commit(ctx context.Context, chunk []*entry) {
	began := time.Now()
	for {
		todo := g.classify(chunk)
		if len(todo) == 0 {
			break
		}
		if ctx.Err() != nil {
			for _, e := range todo {
				e.fate, e.err = refused, ErrClosed
			}
			break
		}
		if err := g.publish(ctx, todo); err != nil {
			g.unavailable(err)
			g.catchUp(ctx, errors.Is(err, errConflict))
			continue
		}
	}
	clear(g.flying)
	g.settle(chunk, time.Since(began))
}

// classify decides the fate of what needs no publishing and returns the rest.
func (g *Ingress) classify(chunk []*entry) []*entry {
	todo := make([]*entry, 0, len(chunk))
	clear(g.firstOrigin)
	clear(g.firstKey)
	now := time.Now().UnixMilli()
	for _, e := range chunk {
		if e.fate != open {
			continue
		}
		e.of = nil
		if o := e.m.Origin; o.Seq != 0 {
			o.Floor = 0
			g.judgeOrigin(e, g.firstOrigin[o])
			if e.fate == open {
				g.firstOrigin[o] = e
			}
		} else if e.key = digestOf(e.m); e.key != (digest{}) {
			if e.of = g.firstKey[e.key]; e.of != nil || g.index.recent.has(e.key, now) {
				e.fate = duplicate
			} else {
				g.firstKey[e.key] = e
			}
		}
		if e.fate == open && g.encode(e) {
			todo = append(todo, e)
		}
	}
	return todo
}

// judgeOrigin decides the fate of a message that carries an origin; earlier is
// the one of the same origin in the same chunk.
func (g *Ingress) judgeOrigin(e, earlier *entry) {
	s := g.index.source(e.m.Origin)
	switch {
	case earlier != nil && contentOf(earlier.m) == contentOf(e.m):
		e.fate, e.of = duplicate, earlier
	case earlier != nil:
		e.fate, e.err = refused, g.suspect(g.known(e.m.Origin), e.m.Origin, false)
	case s != nil:
		e.fate, e.err = g.judge(s, e.m)
	}
}

// known returns the source of o, made if it is new.
func (g *Ingress) known(o message.Origin) *source {
	g.index.mu.Lock()
	defer g.index.mu.Unlock()
	return g.index.ensure(o)
}

func (g *Ingress) admits(s *source, o message.Origin) bool {
	g.index.mu.Lock()
	defer g.index.mu.Unlock()
	return g.index.admits(s, o)
}

// encode reports whether e can be published.
func (g *Ingress) encode(e *entry) bool {
	if e.msg != nil {
		return true
	}
	msg, err := g.stream.Encode(e.m)
	limit := int(g.stream.Conn().MaxPayload())
	if err == nil && limit > 0 && len(msg.Data)+stream.MaxHeader > limit && msg.Size()+stampSize > limit {
		err = fmt.Errorf("%d bytes with headers, limit %d: %w", msg.Size(), limit, stream.ErrTooLarge)
	}
	if err != nil {
		e.fate, e.err = refused, fmt.Errorf("store message: %w: %w", ErrRefused, err)
		return false
	}
	if e.key != (digest{}) && stream.Spilled(msg.Header) {
		msg.Header[stream.HeaderDigest] = []string{hex.EncodeToString(e.key[:])}
	}
	e.msg = msg
	return true
}

// record notes that todo stands in the stream from sequence from on.
func (g *Ingress) record(todo []*entry, from uint64) {
	now := time.Now().UnixMilli()
	g.index.mu.Lock()
	for i, e := range todo {
		e.fate = stored
		g.index.store(e.m.Origin, e.key, now, from+uint64(i))
		if e.m.Origin.Seq != 0 {
			g.index.ensure(e.m.Origin).contents.add(e.m.Origin.Seq, contentOf(e.m))
		}
	}
	g.index.last = from + uint64(len(todo)) - 1
	g.index.mu.Unlock()
	g.available()
}

// settle hands the fates to the waiting batches and counts them.
func (g *Ingress) settle(chunk []*entry, took time.Duration) {
	var nStored, nDuplicate, nRefused float64
	g.index.mu.Lock()
	for _, e := range chunk {
		if e.of != nil && e.of.fate == refused {
			e.fate, e.err = refused, e.of.err
		}
		switch e.fate {
		case stored:
			nStored++
		case duplicate:
			nDuplicate++
			if s := g.index.source(e.m.Origin); s != nil {
				s.duplicates++
				s.raise(e.m.Origin.Floor)
			} else {
				g.index.repeated++
			}
		default:
			nRefused++
			e.w.fail(e.i, e.err)
		}
	}
	g.index.mu.Unlock()
	g.dirty = g.dirty || nStored+nDuplicate > 0
	g.metrics.stored.Add(nStored)
	g.metrics.duplicates.Add(nDuplicate)
	g.metrics.refused.Add(nRefused)
	if nStored > 0 {
		g.metrics.commit.Observe(took.Seconds())
		g.metrics.batch.Observe(nStored)
	}
}
