package rules

import (
	"math"
	"sync"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/eval"
)

// Set is a compiled rule set. The zero Set matches nothing.
type Set struct {
	rules  []rule
	byName map[string]*rule
	queues []string
	fields eval.Fields
	index  index
	pool   sync.Pool // of *work
}

// rule is one compiled rule.
type rule struct {
	name     string
	place    Fault // where it stands; Text is unused
	sources  []source
	where    *eval.Node // nil: always
	project  *projection
	into     []int // queues by number, each once
	priority uint8
	ttl      int64 // milliseconds; 0: for ever
}

// work is what one call of Match needs; Sets keep them for the next.
type work struct {
	env     *eval.Env
	entries []entry
	key     []byte
	round   uint32
	placed  []placed // by queue number
}

// placed says that the target at position at was appended in round.
type placed struct {
	round uint32
	at    int32
}

// Len is the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// Queues names every queue that Match may return, in no order.
func (s *Set) Queues() []string { return append([]string(nil), s.queues...) }

// Match appends where m goes: each queue once, however many rules name it. The
// lowest priority number wins and brings its TTL and its name; among equals the
// first rule. A target expires when its TTL after m.Accepted, or the publisher's
// own m.Expires, has passed, whichever is sooner.
func (s *Set) Match(m *message.Message, dst []message.Target) []message.Target {
	if len(s.rules) == 0 {
		return dst
	}
	w := s.work(m)
	last := int32(-1)
	for _, e := range s.index.candidates(m, w) {
		if e.rule == last || e.source != nil && !e.source.matches(m) {
			continue
		}
		r := &s.rules[e.rule]
		last = e.rule // a condition has the same answer for every source
		if r.where == nil || r.where.Eval(w.env).True() {
			dst = s.place(w, r, m, dst)
		}
	}
	s.done(w)
	return dst
}

// place appends r's targets, or lets r replace what a lesser rule appended.
func (s *Set) place(w *work, r *rule, m *message.Message, dst []message.Target) []message.Target {
	for _, q := range r.into {
		p := &w.placed[q]
		if p.round != w.round {
			*p = placed{round: w.round, at: int32(len(dst))}
			dst = append(dst, r.target(s.queues[q], m))
			continue
		}
		if t := &dst[p.at]; r.priority < t.Priority {
			*t = r.target(s.queues[q], m)
		}
	}
	return dst
}

func (r *rule) target(queue string, m *message.Message) message.Target {
	expires := m.Expires
	if r.ttl > 0 && m.Accepted <= math.MaxInt64-r.ttl {
		if own := m.Accepted + r.ttl; expires == 0 || own < expires {
			expires = own
		}
	}
	return message.Target{Queue: queue, Rule: r.name, Priority: r.priority, Expires: expires}
}

// work takes what one evaluation of m needs; done gives it back.
func (s *Set) work(m *message.Message) *work {
	w, _ := s.pool.Get().(*work)
	if w == nil {
		w = &work{env: eval.NewEnv(&s.fields), placed: make([]placed, len(s.queues))}
	}
	if w.round++; w.round == 0 { // wrapped: old rounds would look new
		clear(w.placed)
		w.round = 1
	}
	w.env.Reset(m)
	return w
}

func (s *Set) done(w *work) {
	w.env.Release()
	s.pool.Put(w)
}

// Project returns the body that t's rule sends in place of m's; false means that
// it sends m as it is. What m lacks is null in the body.
func (s *Set) Project(t *message.Target, m *message.Message) (body []byte, ok bool) {
	r := s.byName[t.Rule]
	if r == nil || r.project == nil {
		return nil, false
	}
	w := s.work(m)
	body = r.project.body(w.env)
	s.done(w)
	return body, true
}

// projection is the new body that a rule selects: a JSON object.
type projection struct {
	names []string // as JSON strings
	nodes []*eval.Node
}

func (p *projection) body(e *eval.Env) []byte {
	out := make([]byte, 0, 128)
	out = append(out, '{')
	for i, n := range p.nodes {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, p.names[i]...)
		out = append(out, ':')
		out = n.Eval(e).AppendJSON(out)
	}
	return append(out, '}')
}
