package store

import (
	"errors"
	"fmt"

	"github.com/penstock-io/penstock/message"
)

// Item is one message and the queues it goes to: into all of them or into none.
type Item struct {
	Data     []byte // message.Append's encoding; copied before Append returns
	Accepted int64  // Unix milliseconds
	Targets  []message.Target
}

// Request is a run of items that becomes durable in one commit, with records.
type Request struct {
	Items []Item
	// Records, if set, is asked once, within Append, when it is known which items
	// are refused, for the records to write in the commit of the others. refused
	// is nil when none is. A request that is refused whole is not asked.
	Records func(refused []error) []message.Record
	// Done is called exactly once, in the order of Append, from a goroutine that
	// serves everybody: it must not block. errs is nil when every item was
	// accepted, else errs[i] says what became of Items[i] (nil: accepted).
	// A request without items whose records could not be written gets errs of
	// length one.
	Done func(r *Request, errs []error)
}

// part is one request's messages for one queue and priority, encoded by the
// caller so that the writer only joins them.
type part struct {
	q       *Queue
	prio    uint8
	index   index
	value   []byte // blockHeader free bytes, then entries
	requeue bool   // the messages were accepted before
}

// Append makes a request durable. It returns when the request has its place in
// the order; it waits only while more than Config.IntakeBytes wait for the disk.
func (s *Store) Append(r *Request) {
	o := &op{req: r, eager: true}
	if err := s.encode(o); err != nil {
		s.refuse(o, err)
	}
	s.in.put(o)
}

// refuse turns o into an operation that only reports err in its turn.
func (s *Store) refuse(o *op, err error) {
	for _, p := range o.parts {
		s.release(p.q, int64(p.index.bytes))
	}
	n := len(o.req.Items)
	if n == 0 {
		n = 1
	}
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
		if i < len(o.errs) && o.errs[i] != nil {
			errs[i] = o.errs[i]
		}
	}
	*o = op{req: o.req, errs: errs, eager: true}
}

func (s *Store) encode(o *op) error {
	e := encoder{s: s, o: o}
	for i := range o.req.Items {
		if err := e.item(i); err != nil {
			if errors.Is(err, errWhole) {
				return err
			}
			if o.errs == nil {
				o.errs = make([]error, len(o.req.Items))
			}
			o.errs[i] = err
		}
	}
	if o.req.Records != nil {
		o.records = o.req.Records(o.errs)
		for i := range o.records {
			if err := checkRecord(&o.records[i]); err != nil {
				return err
			}
		}
		o.bytes += recordBytes(o.records)
	}
	o.weigh()
	return nil
}

// errWhole marks errors that concern the whole request.
var errWhole = fmt.Errorf("request: %w", ErrTooLarge)

// encoder sorts a request's items into parts.
type encoder struct {
	s  *Store
	o  *op
	by map[tailKey]int // index into o.parts, once they are many

	lastQueue *Queue
	lastName  string
	lastRule  uint32
	lastRuleN string
	ruleKnown bool
}

func (e *encoder) item(i int) error {
	it := &e.o.req.Items[i]
	if len(it.Targets) == 0 {
		return nil
	}
	var few [8]*Queue
	queues := few[:0]
	for j := range it.Targets {
		q, err := e.admit(it, &it.Targets[j])
		if err != nil {
			for k, q := range queues {
				e.s.release(q, reserveOf(it, &it.Targets[k]))
			}
			return err
		}
		queues = append(queues, q)
	}
	for j := range it.Targets {
		if err := e.add(queues[j], it, &it.Targets[j], len(e.o.req.Items)-i); err != nil {
			for k := j; k < len(queues); k++ {
				e.s.release(queues[k], reserveOf(it, &it.Targets[k]))
			}
			return err
		}
	}
	return nil
}

// reserveOf bounds the bytes an item takes in one target's block.
func reserveOf(it *Item, t *message.Target) int64 { return int64(len(it.Data) + len(t.Meta) + 20) }

// admit checks one target and reserves its bytes.
func (e *encoder) admit(it *Item, t *message.Target) (*Queue, error) {
	switch {
	case t.Priority >= priorities:
		return nil, fmt.Errorf("append to queue %s: priority %d is above %d", t.Queue, t.Priority, priorities-1)
	case len(t.Rule) > maxName:
		return nil, fmt.Errorf("append to queue %s: rule name of %d bytes: %w", t.Queue, len(t.Rule), ErrName)
	case len(it.Data)+len(t.Meta) > MaxMessage:
		return nil, fmt.Errorf("append to queue %s: %d bytes: %w", t.Queue, len(it.Data)+len(t.Meta), ErrTooLarge)
	}
	if e.lastQueue == nil || e.lastName != t.Queue {
		q, err := e.s.Queue(t.Queue)
		if err != nil {
			return nil, err
		}
		e.lastQueue, e.lastName = q, t.Queue
	}
	if err := e.s.reserve(e.lastQueue, reserveOf(it, t)); err != nil {
		return nil, fmt.Errorf("append to queue %s: %w", t.Queue, err)
	}
	return e.lastQueue, nil
}

// add encodes one target; itemsLeft sizes the first buffer.
func (e *encoder) add(q *Queue, it *Item, t *message.Target, itemsLeft int) error {
	if !e.ruleKnown || e.lastRuleN != t.Rule {
		e.lastRule, e.lastRuleN, e.ruleKnown = e.s.rules.id(t.Rule), t.Rule, true
	}
	size := int(reserveOf(it, t))
	if e.o.bytes+int64(size) > maxRequest {
		return fmt.Errorf("more than %d bytes: %w", maxRequest, errWhole)
	}
	p := e.part(q, t.Priority, size)
	if p == nil {
		return fmt.Errorf("more than %d queues: %w", MaxTargets, errWhole)
	}
	if p.value == nil {
		if len(it.Targets) > 1 {
			itemsLeft = min(itemsLeft, 4)
		}
		p.value = make([]byte, blockHeader, blockHeader+min(itemsLeft*size, maxBlock)+size)
	}
	before := len(p.value)
	en := entry{rule: e.lastRule, expires: max(t.Expires, 0), meta: t.Meta, data: it.Data}
	p.value = en.append(p.value)
	n := len(p.value) - before
	e.s.adjust(q, int64(n-size))
	p.index.add(e.lastRule, n, en.expires, it.Accepted)
	e.o.messages++
	e.o.bytes += int64(n)
	return nil
}

// part finds or begins the part for a queue and priority that has room.
func (e *encoder) part(q *Queue, prio uint8, size int) *part {
	k := tailKey{q.id, prio}
	i := -1
	if e.by != nil {
		if j, ok := e.by[k]; ok {
			i = j
		}
	} else {
		for j := len(e.o.parts) - 1; j >= 0 && i < 0; j-- {
			if p := &e.o.parts[j]; p.q == q && p.prio == prio {
				i = j
			}
		}
	}
	if i >= 0 {
		p := &e.o.parts[i]
		if p.index.count < maxBlockMessages && len(p.value)+size <= maxBlock {
			return p
		}
	}
	if len(e.o.parts) >= MaxTargets {
		return nil
	}
	e.o.parts = append(e.o.parts, part{q: q, prio: prio})
	i = len(e.o.parts) - 1
	if e.by != nil {
		e.by[k] = i
	} else if i == 16 {
		e.by = make(map[tailKey]int)
		for j := range e.o.parts {
			e.by[tailKey{e.o.parts[j].q.id, e.o.parts[j].prio}] = j
		}
	}
	return &e.o.parts[i]
}

// reserve takes n bytes of the queue's and the store's quota.
func (s *Store) reserve(q *Queue, n int64) error {
	if s.diskFull.Load() {
		return ErrDiskFull
	}
	if total := s.used.Add(n); s.cfg.MaxBytes > 0 && total > s.cfg.MaxBytes {
		s.used.Add(-n)
		return fmt.Errorf("the store holds %d bytes: %w", total-n, ErrQuota)
	}
	total := q.used.Add(n)
	if b := q.bound.Load(); b.bytes > 0 && total > b.bytes && (b.policy == Reject || n > b.bytes) {
		s.release(q, n)
		return fmt.Errorf("it holds %d of %d bytes: %w", total-n, b.bytes, ErrQuota)
	}
	return nil
}

func (s *Store) release(q *Queue, n int64) { s.adjust(q, -n) }

func (s *Store) adjust(q *Queue, n int64) {
	s.used.Add(n)
	q.used.Add(n)
}
