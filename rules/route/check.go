package route

import (
	"fmt"
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
	typ staticType
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
	faults   eval.Faults
}

// refuse records a fault at a token. What it returns is undefined, as in the
// reference: a fault may so bring on another one around it.
func (c *checker) refuse(at token, format string, args ...any) typed {
	c.faults = append(c.faults, faultAt(c.text, at.start, at.end, fmt.Sprintf(format, args...)))
	return typed{eval.Const(eval.Value{}, at.text), tUndefined}
}

func (c *checker) written(e *expression) string { return strings.TrimSpace(c.text[e.from:e.to]) }

func (c *checker) check(e *expression) typed {
	switch e.op {
	case opTrue:
		return typed{eval.Const(eval.Truth(true), "true"), tBool}
	case opBroken:
		return typed{eval.Const(eval.Value{}, ""), tUndefined}
	case opNumber:
		return typed{eval.Const(eval.NumberOf(e.at.number), e.at.text), tNumber}
	case opText:
		return typed{eval.Const(eval.TextOf(e.at.text), e.at.text), tString}
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
		return typed{eval.Const(eval.NullValue(), word), tNull}
	case "undefined":
		return typed{eval.Const(eval.Value{}, word), tUndefined}
	}
	return typed{eval.Const(eval.Truth(word == "true"), word), tBool}
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
	return typed{not(arg.Node, c.written(e)), tBool}
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
		return c.leaf(e, tString, concat, l, r)
	}
	if !l.typ.is(tNumber) || !r.typ.is(tNumber) {
		return c.operands(e, l, r, tNumber)
	}
	return c.leaf(e, tNumber, arithmetic(e.op), l, r)
}

// operands refuses an operator's operands, naming what it takes.
func (c *checker) operands(e *expression, l, r typed, want staticType) typed {
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
	return typed{&eval.Node{Args: []*eval.Node{l.Node, r.Node}, Text: c.written(e), Eval: func(env *eval.Env) eval.Value {
		if v := l.Eval(env); v.Kind != eval.Undefined {
			return v
		}
		return r.Eval(env)
	}}, typ}
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
		return typed{and(l.Node, r.Node), typ}
	}
	typ := tBool
	if l.typ == tNull && r.typ == tNull {
		typ = tNull
	}
	return typed{or(l.Node, r.Node), typ}
}

func (c *checker) equality(e *expression, l, r typed) typed {
	known := l.typ == r.typ || l.typ == tBody || r.typ == tBody || l.typ == tNull || r.typ == tNull
	if !known {
		return c.operands(e, l, r, l.typ)
	}
	return c.leaf(e, tBool, equality(e.op == "=", l.typ, r.typ), l, r)
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
	return c.leaf(e, tBool, ordering(e.op), l, r)
}

// leaf makes the node of an operator or function that sees all its operands.
func (c *checker) leaf(e *expression, typ staticType, apply func([]eval.Value) eval.Value, args ...typed) typed {
	nodes := make([]*eval.Node, len(args))
	for i, a := range args {
		nodes[i] = a.Node
	}
	return typed{&eval.Node{Args: nodes, Text: c.written(e), Eval: func(env *eval.Env) eval.Value {
		var few [4]eval.Value
		values := few[:0]
		for _, n := range nodes {
			values = append(values, n.Eval(env))
		}
		return apply(values)
	}}, typ}
}
