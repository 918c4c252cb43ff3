package router

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// maxPooled bounds what a request keeps for its next use, in bytes.
const maxPooled = 1 << 20

// request is one batch on its way through the store. It is reused.
type request struct {
	store.Request
	r       *Router
	b       *message.Batch
	of      []int32 // of[i] is the message that Items[i] carries
	buf     []byte  // encodings
	targets []message.Target
	marks   []mark
	scratch []byte
	flight  *flight

	weight weight
	failed error   // the whole batch is refused with it
	parts  []error // per message, of a batch that was appended in parts; nil otherwise
}

// Accept takes responsibility for a batch: it chooses the queues of each
// message and appends them all in one request. It waits only while the store's
// intake is full, unless the batch is too much for one request (see
// appendInParts). b.Done is called after the commit, batches of one caller in
// the order of their Accept. Messages that nobody wants are acknowledged and
// counted; repeated ones (same publisher, message id and body, or same origin,
// within the window) are acknowledged once the first copy is durable.
func (r *Router) Accept(b *message.Batch) {
	q := r.requests.Get().(*request)
	q.b = b
	r.count.received.Add(uint64(len(b.Messages)))
	f := q.recognise()
	if err := q.tryRoute(); err != nil {
		q.fail(err)
	}
	if q.weight.fits() {
		r.store.Append(&q.Request) // q may be in use for another batch when it returns
	} else {
		q.appendInParts()
	}
	if f != nil {
		r.seen.launched(f)
	}
}

// records gives the store what to write beside the messages it takes: what the
// batch wants, and the ids of its messages.
func (q *request) records(refused []error) []message.Record {
	if q.b.Records == nil && q.flight == nil || q.failed != nil {
		return nil
	}
	out := q.results(refused)
	var rs []message.Record
	if q.b.Records != nil {
		rs = q.b.Records(out)
	}
	if q.flight != nil {
		if rec, ok := q.r.seen.record(q.flight, q.marks, out, q.r.now()); ok {
			rs = append(rs, rec)
		}
	}
	return rs
}

// recognise marks the messages that can be recognised and those of them that were
// here before. Local batches were seen when they came in.
func (q *request) recognise() *flight {
	if q.r.seen == nil || q.b.Local {
		return nil
	}
	for i := range q.b.Messages {
		var d digest
		var ok bool
		if d, q.scratch, ok = digestOf(&q.b.Messages[i], q.scratch); ok {
			q.marks = append(q.marks, mark{id: d, msg: int32(i)})
		}
	}
	if len(q.marks) > 0 {
		q.flight = q.r.seen.claim(q.marks)
	}
	return q.flight
}

// tryRoute is route, but a panic of the rules becomes the error of this batch:
// what it claimed is given back, and its sender and all others are served on.
func (q *request) tryRoute() (err error) {
	defer func() {
		if p := recover(); p != nil {
			q.r.cfg.Log.Error("rules panicked", "err", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", ErrRules, p)
		}
	}()
	q.route()
	return nil
}

// fail makes q a request that only reports err, in its turn.
func (q *request) fail(err error) {
	q.failed = err
	q.dropItems()
}

// route fills in the items.
func (q *request) route() {
	size := 0
	for i := range q.b.Messages {
		size += q.b.Messages[i].Size() + 128
	}
	q.buf = slices.Grow(q.buf[:0], size)
	rules := q.r.rules.Load()
	marks := q.marks
	var unrouted, dups uint64
	for i := range q.b.Messages {
		var mk *mark
		if len(marks) > 0 && marks[0].msg == int32(i) {
			mk, marks = &marks[0], marks[1:]
		}
		if mk != nil && mk.dup {
			dups++
			continue
		}
		routed := q.place(rules, i)
		switch {
		case !routed && !q.b.Local:
			unrouted++
		case mk != nil:
			mk.routed = routed
		}
	}
	q.r.count.unrouted.Add(unrouted)
	q.r.count.duplicates.Add(dups)
}

// place makes the items of one message and reports whether anybody wants it.
func (q *request) place(rules *ruleSet, i int) bool {
	m := &q.b.Messages[i]
	start := len(q.targets)
	if rules != nil && !q.b.Local {
		q.targets = rules.Match(m, q.targets)
	}
	matched := q.targets[start:]
	if rules != nil && rules.projects != nil {
		matched = q.project(rules.projects, i, matched)
	}
	q.targets = append(q.targets[:start+len(matched)], m.Sessions...)
	ts := q.targets[start:len(q.targets):len(q.targets)]
	for j := range ts {
		ts[j].Expires = expiry(&ts[j], m)
	}
	if len(ts) > 0 {
		q.item(m, i, ts)
	}
	return len(ts) > 0 || len(q.of) > 0 && q.of[len(q.of)-1] == int32(i)
}

// item encodes m for the targets.
func (q *request) item(m *message.Message, i int, ts []message.Target) {
	if m.Expires != 0 && !plausible(m) {
		timeless := *m
		timeless.Expires = 0
		m = &timeless
	}
	from := len(q.buf)
	q.buf = message.Append(q.buf, m)
	data := q.buf[from:len(q.buf):len(q.buf)]
	q.Items = append(q.Items, store.Item{Data: data, Accepted: m.Accepted, Targets: ts})
	q.of = append(q.of, int32(i))
	q.weight.add(data, ts)
}

// committed hears what became of the request, on the store's completion goroutine.
func (q *request) committed(_ *store.Request, errs []error) {
	b, out := q.b, q.results(errs)
	if q.flight != nil {
		fate := func(i int32) error {
			if out == nil {
				return nil
			}
			return out[i]
		}
		q.r.seen.land(q.flight, q.marks, q.r.now(), fate, func(i int32, err error) {
			if out == nil {
				out = make([]error, len(b.Messages))
			}
			out[i] = err
		})
	}
	q.refuse(out)
	q.reset()
	q.r.requests.Put(q)
	b.Done(b, out)
}

// results turns errors per item into errors per message; nil: none.
func (q *request) results(errs []error) []error {
	switch {
	case q.failed != nil:
		return q.all(q.failed)
	case errs == nil:
		return q.parts
	case len(q.Items) == 0: // the records could not be written
		return q.all(errs[0])
	}
	out := make([]error, len(q.b.Messages))
	for i, err := range errs {
		if out[q.of[i]] == nil {
			out[q.of[i]] = err
		}
	}
	return out
}

func (q *request) all(err error) []error {
	out := make([]error, len(q.b.Messages))
	for i := range out {
		out[i] = err
	}
	return out
}

func (q *request) refuse(out []error) {
	for i, err := range out {
		if err != nil {
			q.r.count.refused.Add(1)
			out[i] = q.r.cfg.Refusal(err)
		}
	}
}

// reset forgets the batch but keeps the memory, unless it is much.
func (q *request) reset() {
	if cap(q.buf) > maxPooled {
		q.buf = nil
	}
	q.dropItems()
	clear(q.targets)
	clear(q.marks)
	q.targets, q.marks = q.targets[:0], q.marks[:0]
	q.b, q.flight, q.failed, q.parts = nil, nil, nil, nil
}

func (q *request) dropItems() {
	clear(q.Items)
	q.Items, q.of, q.weight = q.Items[:0], q.of[:0], weight{}
}

func (r *Router) newRequest() any {
	q := &request{r: r}
	q.Done, q.Records = q.committed, q.records
	return q
}

func (r *Router) now() time.Time { return r.cfg.Now() }
