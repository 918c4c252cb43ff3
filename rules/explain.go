package rules

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/eval"
	"github.com/penstock-io/penstock/rules/route"
)

// Explanation says what every rule made of one message.
type Explanation struct {
	From    string              `json:"from"`           // where the message comes from
	Note    string              `json:"note,omitempty"` // why its body could not be looked into
	Rules   []RuleExplanation   `json:"rules"`          // in the order of the rules
	Targets []TargetExplanation `json:"targets"`
}

// RuleExplanation says why one rule matched or did not.
type RuleExplanation struct {
	Rule    string   `json:"rule"`
	File    string   `json:"file"`
	Line    int      `json:"line"`
	Matched bool     `json:"matched"`
	From    []string `json:"from"`
	Into    []string `json:"into"`
	// Source is false when the rule does not take messages from there; its
	// condition was then not tried.
	Source bool   `json:"source"`
	Note   string `json:"note,omitempty"`
	// Conditions are the parts of the condition that kept it from being true.
	Conditions []eval.Condition `json:"conditions,omitempty"`
}

// TargetExplanation is one place the message goes to.
type TargetExplanation struct {
	Queue    string          `json:"queue"`
	Rule     string          `json:"rule"`     // the rule that won
	Priority uint8           `json:"priority"` // 10: none stated
	Expires  *time.Time      `json:"expires,omitempty"`
	Body     json.RawMessage `json:"body,omitempty"` // what the rule selects; absent: the message as it is
}

// Explain tries every rule on m. It is meant for people, not for the hot path.
func (s *Set) Explain(m *message.Message) Explanation {
	out := Explanation{From: describe(m), Rules: make([]RuleExplanation, 0, len(s.rules)), Targets: []TargetExplanation{}}
	w := s.work(m)
	if _, ok := w.env.JSON(); !ok && len(m.Body) > 0 {
		out.Note = "the body is not JSON: every field of it is missing"
	}
	for i := range s.rules {
		out.Rules = append(out.Rules, s.explainRule(&s.rules[i], w.env))
	}
	s.done(w)
	for _, t := range s.Match(m, nil) {
		e := TargetExplanation{Queue: t.Queue, Rule: t.Rule, Priority: t.Priority}
		if t.Expires != 0 {
			at := time.UnixMilli(t.Expires).UTC()
			e.Expires = &at
		}
		e.Body, _ = s.Project(&t, m)
		out.Targets = append(out.Targets, e)
	}
	return out
}

func (s *Set) explainRule(r *rule, e *eval.Env) RuleExplanation {
	m := e.Message()
	out := RuleExplanation{Rule: r.name, File: r.place.File, Line: r.place.Line}
	for i := range r.sources {
		src := &r.sources[i]
		out.From = append(out.From, src.text)
		out.Source = out.Source || src.matches(m)
	}
	for _, q := range r.into {
		out.Into = append(out.Into, s.queues[q])
	}
	if !out.Source {
		return out
	}
	if r.where == nil {
		out.Matched = true
		return out
	}
	out.Conditions = eval.Why(r.where, e)
	out.Matched = len(out.Conditions) == 0 && r.where.Eval(e).True()
	if r.sources[0].kind == fromRoute && !route.Readable(m) && slices.ContainsFunc(out.Conditions, looksIntoBody) {
		t, _ := m.Sys(message.SysContentType)
		enc, _ := m.Sys(message.SysContentEncoding)
		out.Note = fmt.Sprintf("routes do not look into this body: contentType is %q and contentEncoding %q; expected application/json and utf-8", t.Value, enc.Value)
	}
	return out
}

// looksIntoBody tells the conditions of routes that need a readable body.
func looksIntoBody(c eval.Condition) bool {
	text := strings.ToLower(c.Text)
	return strings.Contains(text, "$body.") || strings.Contains(text, "twin_change_includes")
}

// WriteText writes e for people.
func (e Explanation) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "message from %s\n", e.From)
	if e.Note != "" {
		fmt.Fprintf(&b, "note: %s\n", e.Note)
	}
	for _, r := range e.Rules {
		r.write(&b, e.From)
	}
	if len(e.Targets) == 0 {
		b.WriteString("goes nowhere: no rule matched\n")
	}
	for _, t := range e.Targets {
		fmt.Fprintf(&b, "goes into %s by rule %s", t.Queue, t.Rule)
		if t.Priority != message.PriorityNone {
			fmt.Fprintf(&b, ", priority %d", t.Priority)
		}
		if t.Expires != nil {
			fmt.Fprintf(&b, ", expires %s", t.Expires.Format(time.RFC3339))
		}
		if t.Body != nil {
			fmt.Fprintf(&b, ", with body %s", t.Body)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r RuleExplanation) write(b *strings.Builder, from string) {
	verdict := "no match"
	if r.Matched {
		verdict = "match   "
	}
	fmt.Fprintf(b, "%s  %s (%s:%d)\n", verdict, r.Rule, r.File, r.Line)
	if !r.Source {
		fmt.Fprintf(b, "          takes from %s; the message is from %s\n", strings.Join(r.From, ", "), from)
	}
	for _, c := range r.Conditions {
		fmt.Fprintf(b, "          %s: %s\n", c.Result, c.Text)
		for _, seen := range c.Saw {
			fmt.Fprintf(b, "              %s is %s\n", seen.Name, seen.Value)
		}
	}
	if r.Note != "" {
		fmt.Fprintf(b, "          %s\n", r.Note)
	}
}
