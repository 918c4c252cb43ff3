package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
)

// model is a queue as its documentation says it is.
type model struct {
	waiting  []modelMessage
	leased   map[uint64]modelMessage
	accepted uint64
	out      outcomes
	next     uint64
	dead     []modelMessage
	split    uint64
}

const refused = math.MaxUint64

type modelMessage struct {
	seq  uint64
	prio uint8
	body string
}

func (m *model) sort() {
	slices.SortFunc(m.waiting, func(a, b modelMessage) int {
		if a.prio != b.prio {
			return int(a.prio) - int(b.prio)
		}
		return int(a.seq) - int(b.seq)
	})
}

func (m *model) rewind() {
	for _, x := range m.leased {
		m.waiting = append(m.waiting, x)
	}
	clear(m.leased)
	m.sort()
}

func (m *model) lowest() uint64 {
	low := m.next
	for _, x := range m.waiting {
		low = min(low, x.seq)
	}
	for s := range m.leased {
		low = min(low, s)
	}
	return low
}

// dropped takes the messages out of the model that the queue dropped to make
// room for what has just come, from sequence fresh on: nothing that is leased, and
// nothing while something older or less urgent waits.
func (m *model) dropped(rt *rapid.T, q *Queue, fresh uint64) {
	limit := q.bound.Load()
	if limit.policy != DropOldest || limit.bytes == 0 {
		return
	}
	ds, err := q.Peek(0, math.MaxInt)
	if err != nil {
		rt.Fatal(err)
	}
	there := make(map[uint64]bool)
	for _, d := range ds {
		there[d.Seq] = true
	}
	for seq := range m.leased {
		if !there[seq] {
			rt.Fatalf("leased message %d was dropped", seq)
		}
	}
	var kept []modelMessage
	worst := -1 // the most urgent and newest message dropped
	for i, x := range m.waiting {
		switch {
		case there[x.seq]:
			kept = append(kept, x)
			continue
		case x.seq >= fresh:
			rt.Fatalf("message %d was dropped as it came", x.seq)
		case worst < 0 || x.prio == m.waiting[worst].prio:
			worst = i
		}
	}
	old := slices.DeleteFunc(slices.Clone(kept), func(x modelMessage) bool { return x.seq >= fresh })
	for _, x := range old {
		if worst < 0 {
			break
		}
		if w := m.waiting[worst]; x.prio > w.prio || x.prio == w.prio && x.seq < w.seq {
			rt.Fatalf("message %d was dropped, and %d was not", w.seq, x.seq)
		}
	}
	q.mu.Lock()
	gone, held := q.leaving()
	q.mu.Unlock()
	over := q.used.Load() - limit.bytes - gone - min(held, limit.bytes)
	if over > int64(len(q.open)) && len(old) > 0 { // shares of blocks are rounded
		rt.Fatalf("%d messages wait although the queue is %d bytes above its limit", len(old), over)
	}
	if n := len(m.waiting) - len(kept); n > 0 {
		m.out.drop("quota", uint64(n))
	}
	m.waiting = kept
}

func TestQueueBehavesAsItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		cfg := Config{
			Dir: dir, ReserveBytes: 1, SettleDelay: time.Millisecond, CacheBytes: rapid.Int64Range(1, 400).Draw(rt, "cache"),
			QueueMaxBytes: rapid.SampledFrom([]int64{0, 250, 600}).Draw(rt, "limit"),
			Policy:        rapid.SampledFrom([]Policy{Reject, DropOldest}).Draw(rt, "policy"),
		}
		s, err := Open(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { s.Close() }()
		q, _ := s.Queue("q")
		m := &model{leased: make(map[uint64]modelMessage), next: 1}
		n := 0
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				prios := rapid.SliceOfN(rapid.Uint8Range(0, 2), 1, 5).Draw(rt, "priorities")
				var items []Item
				var fresh []modelMessage
				for _, p := range prios {
					n++
					body := fmt.Sprint(n)
					items = append(items, item(body, message.Target{Queue: "q", Rule: fmt.Sprint("rule", p), Priority: p}))
					fresh = append(fresh, modelMessage{prio: p, body: body})
				}
				for i, err := range tryAdd(s, items...) {
					switch {
					case err == nil:
					case !errors.Is(err, ErrQuota) || cfg.QueueMaxBytes == 0 || cfg.Policy == DropOldest:
						rt.Fatal(err)
					default:
						fresh[i].seq = refused
					}
				}
				fresh = slices.DeleteFunc(fresh, func(x modelMessage) bool { return x.seq == refused })
				first := m.next
				slices.SortStableFunc(fresh, func(a, b modelMessage) int { return int(a.prio) - int(b.prio) })
				for _, f := range fresh {
					f.seq = m.next
					m.next++
					m.waiting = append(m.waiting, f)
				}
				m.accepted += uint64(len(fresh))
				m.sort()
				m.dropped(rt, q, first)
			},
			"lease": func(rt *rapid.T) {
				max := rapid.IntRange(1, 6).Draw(rt, "max")
				lane := rapid.IntRange(-1, 1).Draw(rt, "lane")
				var want, rest []modelMessage
				for _, x := range m.waiting {
					in := lane < 0 || Lane(lane) == Backlog == (x.seq < m.split)
					if in && len(want) < max {
						want = append(want, x)
						m.leased[x.seq] = x
					} else {
						rest = append(rest, x)
					}
				}
				m.waiting = rest
				var ds []message.Delivery
				if lane < 0 {
					ds, err = q.Lease(nil, max)
				} else {
					ds, err = q.LeaseLane(Lane(lane), nil, max)
				}
				if err != nil {
					rt.Fatal(err)
				}
				var got []modelMessage
				for _, d := range ds {
					got = append(got, modelMessage{d.Seq, d.Priority, string(d.Body)})
				}
				if !slices.Equal(got, want) {
					rt.Fatalf("leased %v, want %v", got, want)
				}
			},
			"settle": func(rt *rapid.T) {
				for seq, x := range m.leased {
					switch o := message.Outcome(rapid.IntRange(0, 5).Draw(rt, "outcome")); o {
					case message.Delivered, message.Dropped, message.Buried:
						q.Settle(seq, o, "cause")
						m.out.add(o, "cause", 1)
						delete(m.leased, seq)
						if o == message.Buried {
							m.dead = append(m.dead, x)
						}
					}
				}
			},
			"flush": func(rt *rapid.T) {
				flush(t, q)
			},
			"requeue": func(rt *rapid.T) {
				flush(t, q)
				slices.SortFunc(m.dead, func(a, b modelMessage) int { return int(a.seq) - int(b.seq) })
				var seqs []uint64
				for _, d := range m.dead {
					seqs = append(seqs, d.seq)
				}
				if n, err := q.Requeue(seqs...); err != nil || n != len(seqs) {
					rt.Fatalf("requeued %d of %d: %v", n, len(seqs), err)
				}
				slices.SortStableFunc(m.dead, func(a, b modelMessage) int { return int(a.prio) - int(b.prio) })
				first := m.next
				for _, d := range m.dead {
					d.seq = m.next
					m.next++
					m.waiting = append(m.waiting, d)
				}
				m.out.buried -= uint64(len(m.dead))
				m.dead = nil
				m.sort()
				if len(seqs) > 0 {
					m.dropped(rt, q, first)
				}
			},
			"rewind": func(*rapid.T) {
				q.Rewind()
				m.rewind()
			},
			"split": func(*rapid.T) {
				q.Split()
				m.split = m.next
			},
			"purge": func(rt *rapid.T) {
				if rapid.IntRange(0, 5).Draw(rt, "really") > 0 {
					return
				}
				if _, err := q.Purge(); err != nil {
					rt.Fatal(err)
				}
				if n := len(m.waiting) + len(m.leased); n > 0 {
					m.out.drop("purged", uint64(n))
				}
				m.waiting = nil
				clear(m.leased)
			},
			"reopen": func(rt *rapid.T) {
				if rapid.IntRange(0, 3).Draw(rt, "really") > 0 {
					return
				}
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = Open(cfg); err != nil {
					rt.Fatal(err)
				}
				q, _ = s.Queue("q")
				m.rewind()
				m.split = 0
			},
			"": func(rt *rapid.T) {
				if q.Head() != m.next {
					rt.Fatalf("head %d, want %d", q.Head(), m.next)
				}
				if f := q.Floor(); f > m.lowest() {
					rt.Fatalf("floor %d is above the lowest unsettled %d", f, m.lowest())
				}
				flush(t, q) // burying is counted when it is written
				var sum outcomes
				var accepted, queued uint64
				for _, a := range q.Ledger() {
					if !a.Balanced() {
						rt.Fatalf("account %+v", a)
					}
					accepted, queued = accepted+a.Accepted, queued+a.Queued
					sum.merge(&outcomes{a.Delivered, a.Expired, a.Buried, a.Dropped})
				}
				if accepted != m.accepted || queued != uint64(len(m.waiting)+len(m.leased)) || fmt.Sprint(sum) != fmt.Sprint(m.out) {
					rt.Fatalf("ledger %d %d %v, want %d %d %v", accepted, queued, sum, m.accepted, len(m.waiting)+len(m.leased), m.out)
				}
				if rapid.IntRange(0, 9).Draw(rt, "audit") == 0 {
					if _, err := s.Audit(); err != nil {
						rt.Fatal(err)
					}
				}
			},
		})
	})
}
