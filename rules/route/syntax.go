package route

import (
	"unicode/utf8"

	"github.com/penstock-io/penstock/rules/eval"
)

// expression is a parsed condition, before types.
type expression struct {
	op   string // operator word, or one of the op… names
	at   token  // what a fault about it points to
	args []*expression
	from int // byte range in the text
	to   int
}

// Names of expressions that are not operators.
const (
	opNumber   = "number"
	opText     = "text"
	opLiteral  = "literal"  // true false null undefined
	opProperty = "property" // application property
	opSystem   = "system"   // $name: application property, body query or system property
	opBraced   = "braced"   // {$name}: never an application property
	opCall     = "call"
	opNegate   = "negate"
	opNot      = "NOT"
	opTrue     = "missing"  // no condition given
	opBroken   = "broken"   // a syntax error stood here, or nothing
	opTwin     = "includes" // twin_change_includes(path); the path is the first argument's token
)

// levels are the binary operators, loosest first.
var levels = [...][]string{
	{"??"}, {"OR"}, {"AND"}, {"=", "!=", "<>"}, {"<", "<=", ">", ">="}, {"+", "-", "||"}, {"*", "/", "%"},
}

const (
	maxText  = 8 << 10 // bytes of one route
	maxDepth = 200     // of nested parentheses and unary operators
)

// parser reads one text. After its first fault the rest is read as far as it
// makes sense and no second syntax fault is recorded.
type parser struct {
	lexer
	tok    token
	depth  int
	faults eval.Faults
}

func (p *parser) advance() { p.tok = p.next() }

func (p *parser) fault(from, to int, text string) {
	p.faults = append(p.faults, faultAt(p.text, from, to, text))
}

// faultAt places a fault at bytes from … to of text.
func faultAt(text string, from, to int, why string) eval.Fault {
	f := eval.Fault{Text: why}
	f.Line, f.Column = eval.Position(text, utf8.RuneCountInString(text[:from]))
	f.EndLine, f.EndColumn = eval.Position(text, utf8.RuneCountInString(text[:to]))
	return f
}

// unexpected records that the current token does not belong here.
func (p *parser) unexpected() {
	if len(p.faults) > 0 {
		return
	}
	switch t := p.tok; t.kind {
	case unterminated:
		p.fault(t.start, t.end, "Syntax error: unterminated string")
	case unknownToken:
		p.fault(t.start, t.end, "Syntax error: invalid symbol '"+t.text+"'")
	case endToken: // points one character behind the text
		f := faultAt(p.text, t.start, t.end, "Syntax error.")
		f.EndColumn++
		p.faults = append(p.faults, f)
	default:
		if t.is(")") {
			p.fault(t.start, t.end, "Syntax error: unmatched closing ')'")
			return
		}
		p.fault(t.start, t.end, "Syntax error.")
	}
}

// condition reads a whole condition; end says which token may follow it. An
// empty condition is no fault, but undefined.
func (p *parser) condition(end func(token) bool) *expression {
	if end(p.tok) {
		return &expression{op: opBroken, at: p.tok, from: p.tok.start, to: p.tok.start}
	}
	e := p.binary(0)
	// What follows a complete condition makes it a broken one: a stray ")" is
	// passed, so that the types of what follows are checked too.
	for p.tok.is(")") {
		p.unexpected()
		broken := &expression{op: opBroken, at: p.tok, from: e.from, to: p.tok.end}
		p.advance()
		e = p.continued(0, broken)
	}
	if !end(p.tok) {
		p.unexpected()
	}
	return e
}

func (p *parser) binary(level int) *expression {
	if level == len(levels) {
		return p.unary()
	}
	return p.continued(level, p.binary(level+1))
}

// continued reads the operators that follow left, from the tightest level to the
// one asked for.
func (p *parser) continued(level int, left *expression) *expression {
	if left.op == opBroken && level+1 < len(levels) {
		left = p.continued(level+1, left)
	}
	for {
		op, ok := p.operator(level)
		if !ok {
			return left
		}
		at := p.tok
		p.advance()
		right := p.binary(level + 1)
		left = &expression{op: op, at: at, args: []*expression{left, right}, from: left.from, to: right.to}
	}
}

// operator returns the operator of level that the current token is.
func (p *parser) operator(level int) (string, bool) {
	for _, op := range levels[level] {
		if p.tok.is(op) {
			return op, true
		}
	}
	return "", false
}

func (p *parser) unary() *expression {
	t := p.tok
	op := opNegate
	switch {
	case t.is("NOT"):
		op = opNot
	case !t.is("-"):
		return p.primary()
	}
	if p.depth++; p.depth > maxDepth {
		return p.broken("Syntax error: nested too deeply")
	}
	p.advance()
	arg := p.unary()
	p.depth--
	return &expression{op: op, at: t, args: []*expression{arg}, from: t.start, to: arg.to}
}

// broken stands for what could not be read. It ends reading.
func (p *parser) broken(why string) *expression {
	t := p.tok
	if why == "" {
		p.unexpected()
	} else if len(p.faults) == 0 {
		p.fault(t.start, t.end, why)
	}
	if t.kind == unknownToken {
		p.advance()
	}
	return &expression{op: opBroken, at: t, from: t.start, to: t.end}
}

func (p *parser) primary() *expression {
	t := p.tok
	single := func(op string) *expression {
		p.advance()
		return &expression{op: op, at: t, from: t.start, to: t.end}
	}
	switch {
	case t.kind == numberToken:
		return single(opNumber)
	case t.kind == textToken:
		return single(opText)
	case t.kind == systemToken:
		return single(opSystem)
	case t.is("("):
		return p.parenthesised()
	case t.is("{"):
		return p.braced()
	case t.kind == nameToken && !isKeyword(t):
		return p.name(single)
	}
	return p.broken("")
}

func isKeyword(t token) bool {
	for _, word := range []string{"SELECT", "FROM", "WHERE", "INTO", "AND", "OR", "NOT"} {
		if t.is(word) {
			return true
		}
	}
	return false
}

func (p *parser) name(single func(string) *expression) *expression {
	t := p.tok
	switch t.text {
	case "true", "false", "null", "undefined":
		return single(opLiteral)
	}
	e := single(opProperty)
	if p.tok.is("(") {
		return p.call(t)
	}
	return e
}

func (p *parser) parenthesised() *expression {
	open := p.tok
	if p.depth++; p.depth > maxDepth {
		return p.broken("Syntax error: nested too deeply")
	}
	p.advance()
	e := p.binary(0)
	p.depth--
	if !p.tok.is(")") {
		if p.tok.kind == endToken && len(p.faults) == 0 {
			p.fault(open.start, open.end, "Syntax error: missing closing ')'")
		} else {
			p.unexpected()
		}
		return &expression{op: opBroken, at: open, from: open.start, to: e.to}
	}
	e.from, e.to = open.start, p.tok.end
	p.advance()
	return e
}

// braced reads {$name}.
func (p *parser) braced() *expression {
	open := p.tok
	p.advance()
	if p.tok.kind != systemToken {
		return p.broken("")
	}
	e := &expression{op: opBraced, at: p.tok, from: open.start}
	p.advance()
	if !p.tok.is("}") {
		return p.broken("")
	}
	e.to = p.tok.end
	p.advance()
	return e
}

// call reads the arguments of the function called name.
func (p *parser) call(name token) *expression {
	e := &expression{op: opCall, at: name, from: name.start}
	if isTwinFunction(name.text) {
		return p.twinCall(e)
	}
	if p.depth++; p.depth > maxDepth {
		return p.broken("Syntax error: nested too deeply")
	}
	p.advance()
	for !p.tok.is(")") {
		if len(e.args) > 0 {
			if !p.tok.is(",") {
				return p.broken("")
			}
			p.advance()
		}
		e.args = append(e.args, p.binary(0))
	}
	p.depth--
	e.to = p.tok.end
	p.advance()
	return e
}

// twinCall reads twin_change_includes(path), whose argument is a bare path.
func (p *parser) twinCall(e *expression) *expression {
	e.op = opTwin
	p.advance()
	if p.tok.kind != nameToken {
		return p.broken("")
	}
	e.args = []*expression{{op: opProperty, at: p.tok, from: p.tok.start, to: p.tok.end}}
	p.advance()
	if !p.tok.is(")") {
		return p.broken("")
	}
	e.to = p.tok.end
	p.advance()
	return e
}
