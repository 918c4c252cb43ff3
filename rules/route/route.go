package route

import (
	"strings"

	"github.com/penstock-io/penstock/rules/eval"
)

// Route is a parsed route.
type Route struct {
	Source    Source
	Condition string // as written; "true" when there was none
	Sink      Sink

	text  string
	where *expression
}

// Sink says where a route goes: upstream, or to an input of a module.
type Sink struct {
	Upstream      bool
	Module, Input string
}

// Parse reads route text. The condition's types are left to Compile. The error is
// an eval.Faults with positions in text.
func Parse(text string) (*Route, error) {
	p := &parser{lexer: lexer{text: text}}
	if len(text) > maxText {
		p.fault(0, 0, "the route is too long")
		return nil, p.faults
	}
	p.advance()
	r := &Route{text: text}
	if p.tok.is("SELECT") {
		p.advance()
		p.expect("*")
	}
	if !p.tok.is("FROM") {
		p.wrong("expected FROM")
		return nil, p.faults
	}
	r.Source = p.source()
	r.where = &expression{op: opTrue, at: p.tok}
	r.Condition = "true"
	if p.tok.is("WHERE") {
		p.advance()
		if p.tok.is("INTO") {
			p.wrong("expected a condition after WHERE")
		}
		start := p.tok.start
		r.where = p.condition(func(t token) bool { return t.is("INTO") })
		r.Condition = strings.TrimSpace(text[start:p.tok.start])
	}
	p.expect("INTO")
	r.Sink = p.sink()
	if len(p.faults) > 0 {
		return nil, p.faults
	}
	return r, nil
}

// Compile checks and compiles the condition, whose body fields are numbered by
// fields. The error is an eval.Faults with positions in the route's text.
func (r *Route) Compile(fields *eval.Fields) (*eval.Node, error) {
	c := &checker{text: r.text, fields: fields, twin: r.Source.IsTwin(), features: features{body: true, twin: true}}
	n := c.check(r.where)
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	return n.truth(), nil
}

// truth makes a whole condition of n: null is false, and what is no boolean
// undefined.
func (n typed) truth() *eval.Node {
	if n.typ == tBool {
		return n.Node
	}
	whole, null := *n.Node, n.typ == tNull
	whole.Eval = func(e *eval.Env) eval.Value {
		switch v := n.Eval(e); {
		case v.Kind == eval.Bool:
			return v
		case v.Kind == eval.Null && null:
			return eval.Truth(false)
		}
		return eval.Value{}
	}
	return &whole
}

// compile compiles an expression of any type, as c says.
func compile(text string, fields *eval.Fields, c checker) (typed, error) {
	p := &parser{lexer: lexer{text: text}}
	if len(text) > maxText {
		p.fault(0, 0, "the condition is too long")
		return typed{}, p.faults
	}
	p.advance()
	e := p.condition(func(t token) bool { return t.kind == endToken })
	c.text, c.fields, c.faults = text, fields, p.faults
	n := c.check(e)
	if len(c.faults) > 0 {
		return typed{}, c.faults
	}
	return n, nil
}

// wrong records that the current token is not what the route needs here.
func (p *parser) wrong(expected string) {
	if len(p.faults) == 0 {
		p.fault(p.tok.start, p.tok.end, "Syntax error: "+expected)
	}
}

// expect passes the keyword or operator word.
func (p *parser) expect(word string) {
	switch {
	case p.tok.is(word):
		p.advance()
	case p.tok.kind == unterminated || p.tok.kind == unknownToken:
		p.unexpected()
	default:
		p.wrong("expected " + word)
	}
}

// source reads what follows FROM; the current token is FROM.
func (p *parser) source() Source {
	p.at = p.tok.end
	p.tok = p.lexer.source()
	s, err := ParseSource(p.tok.text)
	if err != "" {
		p.wrong(err)
	}
	p.advance()
	return s
}

// sink reads what follows INTO, to the end (contract 5.3).
func (p *parser) sink() Sink {
	t := p.tok
	switch t.kind {
	case systemToken:
		p.advance()
		if !strings.EqualFold(t.text, "upstream") {
			p.faultOnce(t, "unknown sink $"+t.text+"; expected $upstream or BrokeredEndpoint(\"/modules/{module}/inputs/{input}\")")
		}
		p.atEnd()
		return Sink{Upstream: true}
	case nameToken:
		p.advance()
		if !p.tok.is("(") {
			p.wrong("expected ( after " + t.text + "; a sink is $upstream or BrokeredEndpoint(\"/modules/{module}/inputs/{input}\")")
			return Sink{}
		}
		p.advance()
		return p.endpoint(t)
	}
	p.wrong("expected $upstream or BrokeredEndpoint(\"/modules/{module}/inputs/{input}\")")
	return Sink{}
}

func (p *parser) faultOnce(t token, text string) {
	if len(p.faults) == 0 {
		p.fault(t.start, t.end, text)
	}
}

func (p *parser) endpoint(function token) Sink {
	address := p.tok
	if address.kind != textToken {
		if address.kind == unterminated {
			p.unexpected()
		}
		p.wrong("expected an address in quotes")
		return Sink{}
	}
	p.advance()
	p.expect(")")
	p.atEnd()
	sink, err := Endpoint(function.text, address.text)
	if err != "" {
		p.faultOnce(address, err)
	}
	return sink
}

func (p *parser) atEnd() {
	if p.tok.kind != endToken {
		p.unexpected()
	}
}

// Endpoint reads a sink function and its address; err says what is wrong with it.
// After one leading and one trailing slash an address has exactly four segments,
// of which the second names the module and the fourth the input (contract 5.3).
func Endpoint(function, address string) (sink Sink, err string) {
	if !strings.EqualFold(function, "BrokeredEndpoint") {
		return sink, "unknown sink " + function + "; expected $upstream or BrokeredEndpoint(\"/modules/{module}/inputs/{input}\")"
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "/"), "/")
	parts := strings.Split(address, "/")
	if len(parts) != 4 || parts[1] == "" || parts[3] == "" {
		return sink, "the address of a module's input is /modules/{module}/inputs/{input}"
	}
	return Sink{Module: parts[1], Input: parts[3]}, ""
}
