package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

// memQueue is a Queue in memory, for tests in which time is virtual.
type memQueue struct {
	mu      sync.Mutex
	all     []message.Delivery
	leased  int
	settled map[uint64]string
	ready   chan struct{}
}

func newMemQueue(n int) *memQueue {
	q := &memQueue{settled: make(map[uint64]string), ready: make(chan struct{}, 1)}
	for i := range n {
		q.all = append(q.all, message.Delivery{Seq: uint64(i + 1)})
	}
	return q
}

func (q *memQueue) Lease(dst []message.Delivery, n int) ([]message.Delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ; n > 0 && q.leased < len(q.all); q.leased++ {
		if _, ok := q.settled[q.all[q.leased].Seq]; !ok {
			dst = append(dst, q.all[q.leased])
			n--
		}
	}
	return dst, nil
}

func (q *memQueue) Ready() <-chan struct{} { return q.ready }

func (q *memQueue) Settle(seq uint64, o message.Outcome, cause string, _ ...message.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if o == message.Buried {
		q.settled[seq] = "buried: " + cause
		return
	}
	q.settled[seq] = o.String()
}

func (q *memQueue) SettleAll(seqs []uint64) {
	for _, s := range seqs {
		q.Settle(s, message.Delivered, "")
	}
}

func (q *memQueue) Rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leased = 0
}

func (q *memQueue) outcome(seq uint64) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.settled[seq]
}

// held is a sink that keeps what it is given until the test answers.
type held struct {
	mu  sync.Mutex
	got []heldDelivery
}

type heldDelivery struct {
	ctx  context.Context
	seq  uint64
	body string
	done func(error)
}

func (h *held) Deliver(ctx context.Context, d *message.Delivery, done func(error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, heldDelivery{ctx, d.Seq, string(d.Body), done})
}

func (h *held) take() []heldDelivery {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.got
	h.got = nil
	return got
}

func seqsOf(ds []heldDelivery) (seqs []uint64) {
	for _, d := range ds {
		seqs = append(seqs, d.seq)
	}
	return seqs
}

// pumping runs a pump in a bubble until f returns.
func pumping(t *testing.T, n int, cfg PumpConfig, sink Sink, f func(t *testing.T, p *pump, q *memQueue, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := newMemQueue(n)
		p := newPump("q", q, sink, cfg, 5*time.Second, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { p.run(ctx); close(ended) }()
		stop := func() { cancel(); <-ended }
		f(t, p, q, stop)
		stop()
	})
}

func TestPumpKeepsItsWindowFull(t *testing.T) {
	h := new(held)
	pumping(t, 100, PumpConfig{Window: 8}, h, func(t *testing.T, _ *pump, q *memQueue, _ func()) {
		first := h.take()
		if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 6, 7, 8}, seqsOf(first)); diff != "" {
			t.Fatalf("a full window (-want +got):\n%s", diff)
		}
		first[5].done(nil)
		first[1].done(nil)
		if diff := cmp.Diff([]uint64{9, 10}, seqsOf(h.take())); diff != "" {
			t.Errorf("the window did not slide (-want +got):\n%s", diff)
		}
		if q.outcome(6) != "delivered" || q.outcome(2) != "delivered" || q.outcome(1) != "" {
			t.Errorf("settled are %v", q.settled)
		}
	})
}

func TestTransientFailureRedeliversInOrder(t *testing.T) {
	h := new(held)
	pumping(t, 6, PumpConfig{Window: 4}, h, func(t *testing.T, p *pump, q *memQueue, _ func()) {
		first := h.take()
		first[1].done(ErrUnavailable)
		if first[3].ctx.Err() == nil {
			t.Error("a later delivery may still start although an earlier one failed")
		}
		if got := h.take(); len(got) != 0 {
			t.Fatalf("%v were started while others were under way", seqsOf(got))
		}
		first[0].done(nil)
		first[2].done(errors.New("reset"))
		first[3].done(nil)
		synctest.Wait()
		p.poke()
		again := h.take()
		if diff := cmp.Diff([]uint64{2, 3, 5, 6}, seqsOf(again)); diff != "" {
			t.Errorf("the next stretch (-want +got):\n%s", diff)
		}
		for _, d := range again {
			d.done(nil)
		}
		synctest.Wait()
		if len(q.settled) != 6 {
			t.Errorf("settled are %v", q.settled)
		}
	})
}

func TestPauseGrowsAndWakeEndsIt(t *testing.T) {
	var times []time.Time
	offline := true
	sink := SinkFunc(func(_ context.Context, _ *message.Delivery, done func(error)) {
		times = append(times, time.Now())
		if offline {
			done(ErrUnavailable)
			return
		}
		done(nil)
	})
	cfg := PumpConfig{MaxAttempts: 2, RetryBase: time.Second, RetryMax: time.Minute}
	pumping(t, 1, cfg, sink, func(t *testing.T, p *pump, q *memQueue, _ func()) {
		<-time.After(time.Hour) // virtual
		synctest.Wait()
		if n := len(times); n < 60 || n > 1000 {
			t.Errorf("%d attempts in an hour with pauses of up to a minute", n)
		}
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d > time.Minute {
				t.Errorf("attempt %d came after %v", i, d)
			}
		}
		if q.outcome(1) != "" {
			t.Errorf("being offline made the message %s", q.outcome(1))
		}
		offline = false
		before := time.Now()
		p.poke()
		synctest.Wait()
		if q.outcome(1) != "delivered" || !time.Now().Equal(before) {
			t.Errorf("after the wake-up the message is %q", q.outcome(1))
		}
	})
}

func TestRejectedMessageIsBuriedAfterMaxAttempts(t *testing.T) {
	attempts := make(map[uint64]int)
	sink := SinkFunc(func(_ context.Context, d *message.Delivery, done func(error)) {
		attempts[d.Seq]++
		switch {
		case d.Seq == 2 && attempts[2] == 2:
			done(fmt.Errorf("link down: %w", ErrUnavailable))
		case d.Seq == 2:
			done(fmt.Errorf("reason 0x99: %w", ErrRejected))
		default:
			done(nil)
		}
	})
	pumping(t, 3, PumpConfig{MaxAttempts: 3}, sink, func(t *testing.T, _ *pump, q *memQueue, _ func()) {
		<-time.After(time.Hour)
		synctest.Wait()
		if attempts[2] != 4 {
			t.Errorf("%d attempts, want 3 rejections and one that does not count", attempts[2])
		}
		want := map[uint64]string{1: "delivered", 2: "buried: reason 0x99: message rejected", 3: "delivered"}
		if diff := cmp.Diff(want, q.settled); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

func TestRejectedMessageIsTriedForEverByDefault(t *testing.T) {
	n := 0
	sink := SinkFunc(func(_ context.Context, _ *message.Delivery, done func(error)) { n++; done(ErrRejected) })
	pumping(t, 1, PumpConfig{}, sink, func(t *testing.T, _ *pump, q *memQueue, _ func()) {
		<-time.After(24 * time.Hour)
		synctest.Wait()
		if n < 1000 || len(q.settled) != 0 {
			t.Errorf("%d attempts in a day, settled %v", n, q.settled)
		}
	})
}

func TestPermanentFailureBuriesAndGoesOn(t *testing.T) {
	h := new(held)
	pumping(t, 3, PumpConfig{}, h, func(t *testing.T, _ *pump, q *memQueue, _ func()) {
		got := h.take()
		got[0].done(fmt.Errorf("too large for the parent: %w", ErrPermanent))
		if got[1].ctx.Err() != nil {
			t.Error("a message that is buried interrupts the others")
		}
		got[1].done(nil)
		got[2].done(nil)
		synctest.Wait()
		want := map[uint64]string{1: "buried: too large for the parent: permanent failure", 2: "delivered", 3: "delivered"}
		if diff := cmp.Diff(want, q.settled); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

func TestSecondAnswerIsIgnored(t *testing.T) {
	h := new(held)
	pumping(t, 2, PumpConfig{Window: 1}, h, func(t *testing.T, _ *pump, q *memQueue, _ func()) {
		one := h.take()
		one[0].done(nil)
		two := h.take() // uses the same slot
		one[0].done(nil)
		synctest.Wait()
		if q.outcome(2) != "" {
			t.Fatalf("a second answer to message 1 made message 2 %s", q.outcome(2))
		}
		two[0].done(nil)
	})
}

func TestExpiredMessageIsNotDelivered(t *testing.T) {
	h := new(held)
	pumping(t, 0, PumpConfig{}, h, func(t *testing.T, _ *pump, q *memQueue, _ func()) {
		synctest.Wait()
		now := time.Now().UnixMilli()
		q.mu.Lock()
		q.all = []message.Delivery{{Seq: 1, Expire: now}, {Seq: 2, Expire: now + 1}, {Seq: 3}}
		q.mu.Unlock()
		q.ready <- struct{}{}
		if diff := cmp.Diff([]uint64{2, 3}, seqsOf(h.take())); diff != "" {
			t.Errorf("delivered (-want +got):\n%s", diff)
		}
		if q.outcome(1) != "expired" {
			t.Errorf("message 1 is %q", q.outcome(1))
		}
		for _, d := range h.got {
			d.done(nil)
		}
	})
}

func TestStopWaitsForAnswersButNotForEver(t *testing.T) {
	h := new(held)
	pumping(t, 2, PumpConfig{}, h, func(t *testing.T, _ *pump, q *memQueue, stop func()) {
		got := h.take()
		time.AfterFunc(time.Second, func() { got[0].done(nil) })
		before := time.Now()
		stop()
		if took := time.Since(before); took != 5*time.Second {
			t.Errorf("the stop took %v, want the drain time", took)
		}
		if q.outcome(1) != "delivered" || q.outcome(2) != "" {
			t.Errorf("settled are %v", q.settled)
		}
		got[1].done(nil) // too late, and harmless
	})
}

func TestPumpAnswersFromManyGoroutines(t *testing.T) {
	var order []uint64
	sink := SinkFunc(func(_ context.Context, d *message.Delivery, done func(error)) {
		order = append(order, d.Seq)
		go done(nil)
	})
	pumping(t, 5000, PumpConfig{Window: 64}, sink, func(t *testing.T, _ *pump, q *memQueue, _ func()) {
		synctest.Wait()
		if len(q.settled) != 5000 || !slices.IsSorted(order) {
			t.Errorf("%d settled, in order: %v", len(q.settled), slices.IsSorted(order))
		}
	})
}
