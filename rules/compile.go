package rules

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidwall/gjson"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/eval"
	"github.com/penstock-io/penstock/rules/route"
	"github.com/penstock-io/penstock/rules/where"
)

// Input is what a Set is compiled from.
type Input struct {
	Files []File
	// EdgeHub holds routes of a deployment; nil when there is none. They rank
	// behind the files' rules of equal priority.
	EdgeHub *EdgeHub
	// TTL is how long a message may wait when neither rule nor deployment say; 0: for ever.
	TTL time.Duration
}

// File is one rule file.
type File struct {
	Name string
	Data []byte
}

// Compile makes a Set of everything in, or returns all its mistakes as Faults.
func Compile(in Input) (*Set, error) {
	c := &compiler{set: &Set{byName: map[string]*rule{}}, names: map[string]Fault{}, queues: map[string]int{}, ttl: in.TTL}
	for _, f := range in.Files {
		c.file(f)
	}
	if in.EdgeHub != nil {
		c.edgeHub(in.EdgeHub)
	}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	c.finish()
	return c.set, nil
}

// compiler builds a Set from the rules it is given.
type compiler struct {
	set    *Set
	names  map[string]Fault // where each name was first used
	queues map[string]int
	ttl    time.Duration
	faults Faults
}

func (c *compiler) fault(at Fault, format string, args ...any) {
	at.Text = fmt.Sprintf(format, args...)
	c.faults = append(c.faults, at)
}

// takeName refuses a name that another rule has.
func (c *compiler) takeName(name string, at Fault) {
	if first, taken := c.names[name]; taken {
		c.fault(at, "the name %q is taken by the rule at %s:%d:%d; expected names that differ over all files", name, first.File, first.Line, first.Column)
		return
	}
	c.names[name] = at
}

// queue numbers the queue of a sink.
func (c *compiler) queue(s Sink) int {
	name := s.Queue()
	n, ok := c.queues[name]
	if !ok {
		n = len(c.set.queues)
		c.queues[name] = n
		c.set.queues = append(c.set.queues, name)
	}
	return n
}

// placer turns a position within a text into a place in its file.
type placer func(line, column int) Fault

// exprFaults records what is wrong with a condition or expression.
func (c *compiler) exprFaults(err error, place placer) {
	var faults eval.Faults
	if !errors.As(err, &faults) {
		c.fault(place(1, 1), "%v", err)
		return
	}
	for _, f := range faults {
		c.fault(place(f.Line, f.Column), "%s", f.Text)
	}
}

func (c *compiler) condition(text string, place placer) *eval.Node {
	n, err := where.Condition(text, &c.set.fields)
	if err != nil {
		c.exprFaults(err, place)
	}
	return n
}

func (c *compiler) expression(text string, place placer) *eval.Node {
	n, err := where.Expression(text, &c.set.fields)
	if err != nil {
		c.exprFaults(err, place)
	}
	return n
}

// route fills in r what an IoT Edge route says.
func (c *compiler) route(r *rule, text string, place placer) {
	parsed, err := route.Parse(text)
	if err != nil {
		c.exprFaults(err, place)
		return
	}
	if r.where, err = parsed.Compile(&c.set.fields); err != nil {
		c.exprFaults(err, place)
	}
	if parsed.Condition == "true" {
		r.where = nil
	}
	r.sources = []source{{kind: fromRoute, text: parsed.Source.Text, route: parsed.Source}}
	sink := Sink{Kind: SinkModule, Module: parsed.Sink.Module, Input: parsed.Sink.Input}
	if parsed.Sink.Upstream {
		sink = Sink{Kind: SinkUpstream}
	}
	r.into = []int{c.queue(sink)}
}

func (p *projection) add(name string, n *eval.Node) {
	p.names = append(p.names, string(gjson.AppendJSONString(nil, name)))
	p.nodes = append(p.nodes, n)
}

// edgeHub adds the routes of a deployment.
func (c *compiler) edgeHub(e *EdgeHub) {
	for _, in := range e.Routes {
		place := func(line, column int) Fault {
			return Fault{File: "$edgeHub routes." + in.Name, Line: line, Column: column}
		}
		r := rule{name: in.Name, place: place(1, 1), priority: in.Priority, ttl: c.ttl.Milliseconds()}
		switch {
		case in.TTL > 0:
			r.ttl = in.TTL.Milliseconds()
		case e.TTL != 0:
			r.ttl = max(0, e.TTL.Milliseconds())
		}
		c.takeName(in.Name, r.place)
		c.route(&r, in.Text, place)
		c.set.rules = append(c.set.rules, r)
	}
}

// finish builds what matching needs once all rules are known.
func (c *compiler) finish() {
	s := c.set
	for i := range s.rules {
		r := &s.rules[i]
		s.byName[r.name] = r
		for j := range r.sources {
			s.index.add(int32(i), &r.sources[j])
		}
	}
}

// defaultPriority ranks a rule that states none behind all others.
const defaultPriority = message.PriorityNone
