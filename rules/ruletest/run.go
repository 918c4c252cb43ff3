package ruletest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules"
)

// accepted is when the messages of tests were accepted; times to live count from it.
const accepted = 1_000_000_000_000

// Result is what became of one message and what was expected of it.
type Result struct {
	File     string    `json:"file"`
	Line     int       `json:"line"`  // of the given line
	Given    string    `json:"given"` // the given line
	Passed   bool      `json:"passed"`
	Failures []Failure `json:"failures,omitempty"`
	// Explanation says what each rule made of the message when it failed.
	Explanation *rules.Explanation `json:"explanation,omitempty"`
}

// Failure is an expectation that did not hold.
type Failure struct {
	Line   int    `json:"line"`
	Expect string `json:"expect"` // the line
	Text   string `json:"text"`   // what happened instead
}

// Run runs the tests of one file against set, in their order. The error is
// rules.Faults when the file is no test.
func Run(set *rules.Set, file string, data []byte) ([]Result, error) {
	cases, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(cases))
	for i := range cases {
		results[i] = run(set, file, &cases[i])
	}
	return results, nil
}

// outcome is what the rules made of a case's message.
type outcome struct {
	set     *rules.Set
	message *message.Message
	matched map[string]bool
	known   map[string]bool
	targets []message.Target
}

func run(set *rules.Set, file string, c *testCase) Result {
	c.message.Accepted = accepted
	explained := set.Explain(&c.message)
	o := outcome{set: set, message: &c.message, matched: map[string]bool{}, known: map[string]bool{}, targets: set.Match(&c.message, nil)}
	for _, r := range explained.Rules {
		o.known[r.Rule], o.matched[r.Rule] = true, r.Matched
	}
	out := Result{File: file, Line: c.line, Given: c.title}
	for _, e := range c.expects {
		if why := o.check(e); why != "" {
			out.Failures = append(out.Failures, Failure{Line: e.line, Expect: e.text, Text: why})
		}
	}
	if out.Passed = len(out.Failures) == 0; !out.Passed {
		out.Explanation = &explained
	}
	return out
}

// check says why e does not hold; "" when it does.
func (o *outcome) check(e expectation) string {
	switch {
	case e.rule == "":
		if len(o.targets) > 0 {
			return fmt.Sprintf("the message goes into %s by rule %s", o.targets[0].Queue, o.targets[0].Rule)
		}
		return ""
	case !o.known[e.rule]:
		return "there is no rule " + e.rule
	case e.not && o.matched[e.rule]:
		return "the rule matched"
	case !e.not && !o.matched[e.rule]:
		return "the rule did not match"
	case e.not:
		return ""
	}
	return o.checkTarget(e)
}

func (o *outcome) checkTarget(e expectation) string {
	if e.queue == "" && e.priority == nil && e.ttl == nil && e.body == nil {
		return ""
	}
	for i := range o.targets {
		t := &o.targets[i]
		switch {
		case e.queue != "" && t.Queue != e.queue, e.queue == "" && t.Rule != e.rule:
			continue
		case t.Rule != e.rule:
			return fmt.Sprintf("the rule %s, of a lower priority number or earlier, puts the message into %s", t.Rule, t.Queue)
		case e.priority != nil && t.Priority != *e.priority:
			return fmt.Sprintf("the priority is %d", t.Priority)
		case e.ttl != nil && ttl(t) != *e.ttl:
			return fmt.Sprintf("the time to live is %s", shown(ttl(t)))
		}
		return o.checkBody(e, t)
	}
	if e.queue == "" {
		return "other rules put the message into all queues of this one"
	}
	return "the message does not go into " + e.queue
}

func ttl(t *message.Target) time.Duration {
	if t.Expires == 0 {
		return 0
	}
	return time.Duration(t.Expires-accepted) * time.Millisecond
}

func shown(ttl time.Duration) string {
	if ttl == 0 {
		return "none"
	}
	return ttl.String()
}

// checkBody compares as JSON: order and white space do not matter, numbers do.
func (o *outcome) checkBody(e expectation, t *message.Target) string {
	if e.body == nil {
		return ""
	}
	body, ok := o.set.Project(t, o.message)
	if !ok {
		body = o.message.Body
	}
	want, err := decode(e.body)
	if err != nil {
		return "the expected body is not JSON"
	}
	if got, err := decode(body); err != nil || !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("the body is %s", body)
	}
	return ""
}

func decode(body []byte) (v any, err error) {
	err = json.NewDecoder(bytes.NewReader(body)).Decode(&v)
	return v, err
}
