package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

// Headers of an atomic batch (ADR-50) and of the compare-and-swap.
const (
	headerBatchID  = "Nats-Batch-Id"
	headerBatchSeq = "Nats-Batch-Sequence"
	headerBatchEnd = "Nats-Batch-Commit"
	headerExpect   = "Nats-Expected-Last-Sequence"
)

// errConflict: something was stored that the index does not know of yet.
var errConflict = errors.New("the stream has moved on")

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

func (g *Ingress) judgeOrigin(e, earlier *entry) {
	switch s := g.index.source(e.m.Origin); {
	case earlier != nil:
		e.fate, e.of = duplicate, earlier
	case s == nil:
	case s.has(e.m.Origin.Seq):
		e.fate = duplicate
	case !g.admits(s, e.m.Origin):
		e.fate = refused
		e.err = fmt.Errorf("store message %s: %w", stream.OriginText(e.m.Origin), ErrScattered)
	}
}

func (g *Ingress) admits(s *source, o message.Origin) bool {
	g.index.mu.Lock()
	defer g.index.mu.Unlock()
	return s.admits(o)
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
	e.msg = msg
	return true
}

// publish stores todo in one atomic step, or finds the messages the stream
// refuses for what they are and stores the others. On an error the fate of what
// is still open is unknown.
func (g *Ingress) publish(ctx context.Context, todo []*entry) error {
	last, err := g.attempt(ctx, todo)
	if err == nil {
		g.record(todo, last-uint64(len(todo))+1)
		return nil
	}
	if !permanent(err) {
		return err
	}
	if len(todo) == 1 {
		todo[0].fate, todo[0].err = refused, fmt.Errorf("store message: %w: %w", ErrRefused, err)
		return nil
	}
	half := len(todo) / 2
	if err := g.publish(ctx, todo[:half]); err != nil {
		return err
	}
	return g.publish(ctx, todo[half:])
}

// attempt publishes todo behind the last sequence the index knows and returns
// the stream sequence of its last message.
func (g *Ingress) attempt(ctx context.Context, todo []*entry) (uint64, error) {
	g.attempts++
	id := g.run + "." + strconv.FormatUint(g.attempts, 36)
	g.flying[id] = append([]*entry(nil), todo...)
	n, nc := len(todo), g.stream.Conn()
	for i, e := range todo {
		stamp(e.msg.Header, id, i, n, g.index.last)
		if i == n-1 {
			break
		}
		if err := nc.PublishMsg(e.msg); err != nil {
			return 0, fmt.Errorf("publish to the stream: %w", err)
		}
	}
	// An attempt under way when ctx ends is worth its answer: without it the
	// sender would have to repeat what may be stored.
	ctx, cancel := g.stream.Bound(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	reply, err := nc.RequestMsgWithContext(ctx, todo[n-1].msg)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return 0, fmt.Errorf("publish to the stream: %w", err)
	}
	return answer(reply.Data, g.index.last+uint64(n))
}

// stamp names the commit in the headers of its message i of n.
func stamp(h nats.Header, id string, i, n int, expect uint64) {
	for _, name := range []string{headerBatchID, headerBatchSeq, headerBatchEnd, headerExpect, stream.HeaderCommit} {
		delete(h, name)
	}
	if i == 0 {
		h[headerExpect] = []string{strconv.FormatUint(expect, 10)}
	}
	if n == 1 {
		h[stream.HeaderCommit] = []string{id}
		return
	}
	h[headerBatchID] = []string{id}
	h[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
	if i == n-1 {
		h[headerBatchEnd] = []string{"1"}
	}
}

// stamped is the inverse of stamp: the attempt and the position in it.
func stamped(h nats.Header) (id string, i int) {
	if v := h[stream.HeaderCommit]; len(v) > 0 {
		return v[0], 0
	}
	if v, s := h[headerBatchID], h[headerBatchSeq]; len(v) > 0 && len(s) > 0 {
		n, _ := strconv.Atoi(s[0])
		return v[0], n - 1
	}
	return "", 0
}

// answer reads the server's acknowledgement, which must name sequence want.
func answer(data []byte, want uint64) (uint64, error) {
	var ack struct {
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("read the stream's acknowledgement: %w", err)
	}
	if ack.Error != nil {
		switch ack.Error.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return 0, errConflict
		}
		return 0, fmt.Errorf("publish to the stream: %w", ack.Error)
	}
	if ack.Seq != want || ack.Duplicate {
		return 0, fmt.Errorf("the stream acknowledged sequence %d, expected %d: %w", ack.Seq, want, errConflict)
	}
	return ack.Seq, nil
}

// permanent reports whether the stream stored nothing because of what a message
// is, or may be: of a batch with a message it refuses in the middle the server
// says only that it is incomplete.
func permanent(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	const headerTooLarge, batchIncomplete = 10097, 10176
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, headerTooLarge, batchIncomplete:
		return true
	}
	return false
}

// record notes that todo stands in the stream from sequence from on.
func (g *Ingress) record(todo []*entry, from uint64) {
	now := time.Now().UnixMilli()
	g.index.mu.Lock()
	for i, e := range todo {
		e.fate = stored
		g.index.store(e.m.Origin, e.key, now, from+uint64(i))
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
