package router

import (
	"context"
	"errors"
	"time"

	"github.com/penstock-io/penstock/message"
)

// slot holds one delivery while it is under way.
type slot struct {
	d    message.Delivery
	turn uint64 // grows with every use, so that a second answer finds no delivery
}

type answer struct {
	s    *slot
	fate fate
	err  error
}

// fate is what an answer means for its message.
type fate uint8

const (
	delivered fate = iota
	buried
	retried
)

func (p *pump) slot() *slot {
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		return s
	}
	return new(slot)
}

// answer takes a sink's answer, on the sink's goroutine.
func (p *pump) answer(s *slot, turn uint64, err error) {
	p.mu.Lock()
	if s.turn != turn {
		p.mu.Unlock()
		return
	}
	s.turn++
	a := answer{s: s, fate: p.judge(s.d.Seq, err), err: err}
	p.answers = append(p.answers, a)
	if a.fate == retried {
		p.failLocked(err)
	}
	p.mu.Unlock()
	select {
	case p.answered <- struct{}{}:
	default:
	}
}

// judge needs mu.
func (p *pump) judge(seq uint64, err error) fate {
	switch {
	case err == nil:
		delete(p.rejected, seq)
		return delivered
	case errors.Is(err, ErrPermanent):
		delete(p.rejected, seq)
		return buried
	case p.cfg.MaxAttempts == 0 || !errors.Is(err, ErrRejected):
		return retried
	}
	n := p.rejected[seq] + 1
	if n >= p.cfg.MaxAttempts {
		delete(p.rejected, seq)
		return buried
	}
	if len(p.rejected) > 4*p.cfg.Window {
		clear(p.rejected) // left behind by messages that were purged or expired
	}
	p.rejected[seq] = n
	return retried
}

func (p *pump) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failLocked(err)
}

func (p *pump) failLocked(err error) {
	if p.failed == nil {
		p.failed = err
	}
	p.cancel()
}

// settle tells the queue what became of the deliveries that were answered.
func (p *pump) settle() {
	p.mu.Lock()
	p.done, p.answers = p.answers, p.done[:0]
	p.mu.Unlock()
	p.seqs = p.seqs[:0]
	for _, a := range p.done {
		switch a.fate {
		case delivered:
			p.seqs = append(p.seqs, a.s.d.Seq)
		case buried:
			p.log.Warn("message buried", "seq", a.s.d.Seq, "rule", a.s.d.Rule, "err", a.err)
			p.q.Settle(a.s.d.Seq, message.Buried, a.err.Error())
		}
		a.s.d = message.Delivery{}
		p.free = append(p.free, a.s)
		p.inFlight--
	}
	if len(p.seqs) > 0 {
		p.q.SettleAll(p.seqs)
		if p.down {
			p.down = false
			p.log.Info("delivery resumed", "attempt", p.backoff.Attempt())
		}
		p.backoff.Reset()
	}
	clear(p.done)
}

// await waits for the answers to everything under way; once ctx has ended, at
// most for the drain time. What is unanswered then is delivered again later.
func (p *pump) await(ctx context.Context) {
	p.settle()
	stop := ctx.Done()
	var late <-chan time.Time
	for p.inFlight > 0 {
		select {
		case <-p.answered:
			p.settle()
		case <-stop:
			stop = nil
			t := time.NewTimer(p.drain)
			defer t.Stop()
			late = t.C
		case <-late:
			return
		}
	}
}
