package router

import "github.com/penstock-io/penstock/message"

// Rules is a compiled, immutable rule set.
type Rules interface {
	// Match appends where m goes, each queue at most once. It is called
	// concurrently and does no I/O.
	Match(m *message.Message, dst []message.Target) []message.Target
	// Queues names every queue that Match may return.
	Queues() []string
}

// Projector is a rule set some of whose rules send on only parts of a message.
type Projector interface {
	// Project returns the body that t's rule sends in place of m's; false means
	// that it sends m as it is. What m lacks is null in the body.
	Project(t *message.Target, m *message.Message) (body []byte, ok bool)
}

// ruleSet is what Accept needs of the rules in force.
type ruleSet struct {
	Rules
	projects Projector // nil: no rule sends on parts
}

func newRuleSet(rules Rules) *ruleSet {
	s := &ruleSet{Rules: rules}
	s.projects, _ = rules.(Projector)
	return s
}

// project makes an item of its own for every target whose rule sends something
// other than the message, and returns the targets that get the message itself,
// moved to the front of ts.
func (q *request) project(rules Projector, i int, ts []message.Target) []message.Target {
	m := &q.b.Messages[i]
	whole := ts[:0]
	for _, t := range ts {
		body, ok := rules.Project(&t, m)
		if !ok {
			whole = append(whole, t)
			continue
		}
		part := *m
		part.Body, part.System = body, asJSON(m.System)
		t.Expires = expiry(&t, m)
		q.item(&part, i, []message.Target{t})
	}
	return whole
}

// asJSON is a message's system properties with its body's type put right: what a
// rule selects is a JSON object in UTF-8, and the next hub's rules look into
// bodies that say so.
func asJSON(system []message.Property) []message.Property {
	out := make([]message.Property, 0, len(system)+2)
	for _, p := range system {
		switch p.Name {
		case message.SysContentType, message.SysContentEncoding, message.SysPayloadFormat:
		default:
			out = append(out, p)
		}
	}
	return append(out,
		message.Property{Name: message.SysContentType, Value: "application/json"},
		message.Property{Name: message.SysContentEncoding, Value: "utf-8"})
}
