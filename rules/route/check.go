package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/rules/eval"
)

// staticType is an expression's type before any message (contract 5.5).
type staticType uint8

const (
	tUndefined staticType = iota
	tNull
	tBool
	tNumber
	tString
	tBody // known at run time
)

func (t staticType) String() string {
	return [...]string{"undefined", "null", "bool", "number", "string", "body"}[t]
}

// is reports whether t is want, or may be at run time.
func (t staticType) is(want staticType) bool { return t == want || t == tBody }

// typed is a compiled expression.
type typed struct {
	*eval.Node
	typ    staticType
	broken bool // it stands for an expression with a fault
}

// features are the parts of the language that a compiler may be told to refuse.
type features struct {
	body bool // $body queries
	twin bool // twin_change_includes
}

// checker gives every expression its type and its code.
type checker struct {
	text     string
	fields   *eval.Fields
	twin     bool // the route's source is twin changes
	features features
	// cascade reports, as the reference does, also the faults that only follow
	// from another: what a broken expression takes part in.
	cascade bool
	faults  eval.Faults
}

// refuse records a fault at a token. What it returns is undefined.
func (c *checker) refuse(at token, format string, args ...any) typed {
	c.faults = append(c.faults, faultAt(c.text, at.start, at.end, fmt.Sprintf(format, args...)))
	return broken()
}

func broken() typed { return typed{Node: eval.Const(eval.Value{}, ""), broken: true} }

// follows reports whether a fault about operands would only follow from theirs.
func (c *checker) follows(operands ...typed) bool {
	return !c.cascade && slices.ContainsFunc(operands, func(t typed) bool { return t.broken })
}

func (c *checker) written(e *expression) string { return strings.TrimSpace(c.text[e.from:e.to]) }

func (c *checker) check(e *expression) typed {
	switch e.op {
	case opTrue:
		return typed{Node: eval.Const(eval.Truth(true), "true"), typ: tBool}
	case opBroken:
		return broken()
	case opNumber:
		return typed{Node: eval.Const(eval.NumberOf(e.at.number), e.at.text), typ: tNumber}
	case opText:
		return typed{Node: eval.Const(eval.TextOf(e.at.text), e.at.text), typ: tString}
	case opLiteral:
		return literal(e.at.text)
	case opProperty, opSystem, opBraced:
		return c.reference(e)
	case opCall:
		return c.call(e)
	case opTwin:
		return c.twinCall(e)
	case opNegate:
		return c.negate(e)
	case opNot:
		return c.not(e)
	}
	return c.binary(e, c.check(e.args[0]), c.check(e.args[1]))
}

func literal(word string) typed {
	switch word {
	case "null":
		return typed{Node: eval.Const(eval.NullValue(), word), typ: tNull}
	case "undefined":
		return typed{Node: eval.Const(eval.Value{}, word), typ: tUndefined}
	}
	return typed{Node: eval.Const(eval.Truth(word == "true"), word), typ: tBool}
}

func (c *checker) negate(e *expression) typed {
	arg := c.check(e.args[0])
	if !arg.typ.is(tNumber) && arg.typ != tUndefined {
		return c.refuse(e.at, "Invalid operand to unary operator '-': have '%s', expected 'number'", arg.typ)
	}
	return c.leaf(e, tNumber, func(v []eval.Value) eval.Value {
		if v[0].Kind != eval.Number {
			return eval.Value{}
		}
		return eval.NumberOf(-v[0].Num)
	}, arg)
}

func (c *checker) not(e *expression) typed {
	arg := c.check(e.args[0])
	if arg.typ == tString || arg.typ == tNumber {
		return c.refuse(e.at, "Invalid operand to unary operator 'not': have '%s', expected 'bool'", arg.typ)
	}
	return typed{Node: not(arg.Node, c.written(e)), typ: tBool}
}

func (c *checker) binary(e *expression, l, r typed) typed {
	switch e.op {
	case "??":
		return c.coalesce(e, l, r)
	case "AND", "OR":
		return c.logical(e, l, r)
	case "=", "!=", "<>":
		return c.equality(e, l, r)
	case "<", "<=", ">", ">=":
		return c.ordering(e, l, r)
	case "||":
		if !l.typ.is(tString) || !r.typ.is(tString) {
			return c.operands(e, l, r, tString)
		}
		return c.pair(e, tString, func(a, b eval.Value) eval.Value { return concat([]eval.Value{a, b}) }, l, r)
	}
	if !l.typ.is(tNumber) || !r.typ.is(tNumber) {
		return c.operands(e, l, r, tNumber)
	}
	return c.pair(e, tNumber, arithmetic(e.op), l, r)
}

// operands refuses an operator's operands, naming what it takes.
func (c *checker) operands(e *expression, l, r typed, want staticType) typed {
	if c.follows(l, r) {
		return broken()
	}
	return c.refuse(e.at, "Invalid operands to binary operator '%s': have '%s' and '%s', expected '%s' and '%s'",
		e.at.text, l.typ, r.typ, want, want)
}

func (c *checker) coalesce(e *expression, l, r typed) typed {
	typ := l.typ
	switch {
	case l.typ == tBody || r.typ == tBody:
		typ = tBody
	case l.typ != r.typ:
		return c.operands(e, l, r, l.typ)
	}
	return typed{Node: &eval.Node{Args: []*eval.Node{l.Node, r.Node}, Text: c.written(e), Eval: func(env *eval.Env) eval.Value {
		if v := l.Eval(env); v.Kind != eval.Undefined {
			return v
		}
		return r.Eval(env)
	}}, typ: typ}
}

func (c *checker) logical(e *expression, l, r typed) typed {
	if l.typ == tString || l.typ == tNumber || r.typ == tString || r.typ == tNumber {
		return c.operands(e, l, r, tBool)
	}
	if e.op == "AND" {
		typ := tBool
		if l.typ == tNull || r.typ == tNull {
			typ = tNull
		}
		return typed{Node: and(l.Node, r.Node), typ: typ}
	}
	typ := tBool
	if l.typ == tNull && r.typ == tNull {
		typ = tNull
	}
	return typed{Node: or(l.Node, r.Node), typ: typ}
}

func (c *checker) equality(e *expression, l, r typed) typed {
	known := l.typ == r.typ || l.typ == tBody || r.typ == tBody || l.typ == tNull || r.typ == tNull
	if !known {
		return c.operands(e, l, r, l.typ)
	}
	return c.pair(e, tBool, equality(e.op == "=", l.typ, r.typ), l, r)
}

func (c *checker) ordering(e *expression, l, r typed) typed {
	switch {
	case l.typ.is(tNumber) && r.typ.is(tNumber), l.typ.is(tString) && r.typ.is(tString):
	case l.typ == tUndefined && r.typ == tUndefined, l.typ == tNull || r.typ == tNull:
	default:
		want := tNumber
		if l.typ == tString {
			want = tString
		}
		return c.operands(e, l, r, want)
	}
	return c.pair(e, tBool, ordering(e.op), l, r)
}

// pair makes the node of an operator of two operands.
func (c *checker) pair(e *expression, typ staticType, apply func(a, b eval.Value) eval.Value, l, r typed) typed {
	left, right := l.Eval, r.Eval
	return typed{Node: &eval.Node{Args: []*eval.Node{l.Node, r.Node}, Text: c.written(e), Eval: func(env *eval.Env) eval.Value {
		return apply(left(env), right(env))
	}}, typ: typ}
}

// leaf makes the node of a function of any number of arguments.
func (c *checker) leaf(e *expression, typ staticType, apply func([]eval.Value) eval.Value, args ...typed) typed {
	nodes := make([]*eval.Node, len(args))
	for i, a := range args {
		nodes[i] = a.Node
	}
	return typed{Node: &eval.Node{Args: nodes, Text: c.written(e), Eval: func(env *eval.Env) eval.Value {
		var few [4]eval.Value
		values := few[:0]
		for _, n := range nodes {
			values = append(values, n.Eval(env))
		}
		return apply(values)
	}}, typ: typ}
}
