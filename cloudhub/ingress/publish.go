package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/penstock-io/penstock/cloudhub/stream"
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
