package where

import (
	"math"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/penstock-io/penstock/rules/eval"
)

func (c *compiler) unary(n *ast.UnaryNode) typed {
	arg := c.node(n.Node)
	if n.Operator == "not" || n.Operator == "!" {
		if !arg.kind.could(boolean) {
			return c.refuse(n, "not needs true or false, but %s is %s", n.Node.String(), arg.kind)
		}
		return typed{eval.NotOf(arg.Node, n.String()), boolean}
	}
	if !arg.kind.could(number) {
		return c.refuse(n, "%s needs a number, but %s is %s%s", n.Operator, n.Node.String(), arg.kind, hint(arg, n.Node))
	}
	sign := 1.0
	if n.Operator == "-" {
		sign = -1
	}
	out := typed{&eval.Node{Args: []*eval.Node{arg.Node}, Text: n.String()}, number}
	if arg.Op == eval.Constant {
		out.Op = eval.Constant
	}
	out.Eval = func(e *eval.Env) eval.Value {
		if v := arg.Eval(e); v.Kind == eval.Number {
			return eval.NumberOf(sign * v.Num)
		}
		return eval.Value{}
	}
	return out
}

func (c *compiler) binary(n *ast.BinaryNode) typed {
	if n.Operator == "in" {
		return c.in(n)
	}
	if n.Operator == "matches" {
		return c.matches(n)
	}
	l, r := c.node(n.Left), c.node(n.Right)
	switch n.Operator {
	case "&&", "and", "||", "or":
		return c.logical(n, l, r)
	case "==", "!=":
		return c.equality(n, l, r)
	case "<", "<=", ">", ">=":
		return c.ordering(n, l, r)
	case "+", "-", "*", "/", "%", "**", "^":
		return c.arithmetic(n, l, r)
	case "contains", "startsWith", "endsWith":
		return c.textTest(n, l, r)
	case "??":
		return coalesce(n, l, r)
	}
	return c.refuse(n, "the operator %s is not allowed in rules", n.Operator)
}

func (c *compiler) logical(n *ast.BinaryNode, l, r typed) typed {
	if !l.kind.could(boolean) {
		return c.refuse(n, "%s needs true or false on both sides, but %s is %s", n.Operator, n.Left.String(), l.kind)
	}
	if !r.kind.could(boolean) {
		return c.refuse(n, "%s needs true or false on both sides, but %s is %s", n.Operator, n.Right.String(), r.kind)
	}
	if n.Operator == "&&" || n.Operator == "and" {
		return typed{eval.AndOf(l.Node, r.Node), boolean}
	}
	return typed{eval.OrOf(l.Node, r.Node), boolean}
}

func (c *compiler) equality(n *ast.BinaryNode, l, r typed) typed {
	if !l.kind.could(r.kind) && l.kind != none && r.kind != none {
		return c.refuse(n, "%s and %s are never equal: %s against %s%s%s",
			n.Left.String(), n.Right.String(), l.kind, r.kind, hint(l, n.Left), hint(r, n.Right))
	}
	want := n.Operator == "=="
	return leaf(n, boolean, l, r, func(a, b eval.Value) eval.Value { return eval.Truth(equal(a, b) == want) })
}

// equal takes what is missing for nil; values of different kinds differ.
func equal(a, b eval.Value) bool {
	if a.Missing() || b.Missing() {
		return a.Missing() && b.Missing()
	}
	if a.Kind != b.Kind {
		return false
	}
	if a.Kind == eval.Number || a.Kind == eval.Bool {
		return a.Num == b.Num
	}
	return a.Str == b.Str
}

func (c *compiler) ordering(n *ast.BinaryNode, l, r typed) typed {
	for _, k := range []kind{number, text} {
		if l.kind.could(k) && r.kind.could(k) {
			return leaf(n, boolean, l, r, orders[n.Operator])
		}
	}
	return c.refuse(n, "%s needs two numbers or two texts: have %s and %s%s%s",
		n.Operator, l.kind, r.kind, hint(l, n.Left), hint(r, n.Right))
}

var orders = map[string]func(a, b eval.Value) eval.Value{
	"<":  ordered(func(c int) bool { return c < 0 }),
	"<=": ordered(func(c int) bool { return c <= 0 }),
	">":  ordered(func(c int) bool { return c > 0 }),
	">=": ordered(func(c int) bool { return c >= 0 }),
}

func ordered(holds func(int) bool) func(a, b eval.Value) eval.Value {
	return func(a, b eval.Value) eval.Value {
		if a.Kind != b.Kind {
			return eval.Value{}
		}
		switch a.Kind {
		case eval.Number:
			switch {
			case a.Num < b.Num:
				return eval.Truth(holds(-1))
			case a.Num > b.Num:
				return eval.Truth(holds(1))
			}
			return eval.Truth(holds(0))
		case eval.Text:
			return eval.Truth(holds(strings.Compare(a.Str, b.Str)))
		}
		return eval.Value{}
	}
}

// maxText bounds what + may build, whatever the message brings.
const maxText = 1 << 20

func (c *compiler) arithmetic(n *ast.BinaryNode, l, r typed) typed {
	if n.Operator == "+" && l.kind.could(text) && r.kind.could(text) && (l.kind == text || r.kind == text) {
		return leaf(n, text, l, r, func(a, b eval.Value) eval.Value {
			if a.Kind != eval.Text || b.Kind != eval.Text || len(a.Str)+len(b.Str) > maxText {
				return eval.Value{}
			}
			return eval.TextOf(a.Str + b.Str)
		})
	}
	if !l.kind.could(number) || !r.kind.could(number) {
		return c.refuse(n, "%s needs two numbers: have %s and %s%s%s",
			n.Operator, l.kind, r.kind, hint(l, n.Left), hint(r, n.Right))
	}
	compute := arithmetics[n.Operator]
	return leaf(n, number, l, r, func(a, b eval.Value) eval.Value {
		if a.Kind != eval.Number || b.Kind != eval.Number {
			return eval.Value{}
		}
		return eval.NumberOf(compute(a.Num, b.Num))
	})
}

var arithmetics = map[string]func(a, b float64) float64{
	"+":  func(a, b float64) float64 { return a + b },
	"-":  func(a, b float64) float64 { return a - b },
	"*":  func(a, b float64) float64 { return a * b },
	"/":  func(a, b float64) float64 { return a / b },
	"%":  math.Mod,
	"**": math.Pow,
	"^":  math.Pow,
}

func (c *compiler) textTest(n *ast.BinaryNode, l, r typed) typed {
	if !l.kind.could(text) || !r.kind.could(text) {
		return c.refuse(n, "%s needs two texts: have %s and %s", n.Operator, l.kind, r.kind)
	}
	test := map[string]func(s, part string) bool{
		"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix,
	}[n.Operator]
	return leaf(n, boolean, l, r, func(a, b eval.Value) eval.Value {
		if a.Kind != eval.Text || b.Kind != eval.Text {
			return eval.Value{}
		}
		return eval.Truth(test(a.Str, b.Str))
	})
}

func (c *compiler) matches(n *ast.BinaryNode) typed {
	l := c.node(n.Left)
	pattern, ok := n.Right.(*ast.StringNode)
	if !ok {
		return c.refuse(n, "matches needs a constant pattern on its right")
	}
	if !l.kind.could(text) {
		return c.refuse(n, "matches needs text on its left, but %s is %s", n.Left.String(), l.kind)
	}
	re, err := regexp.Compile(pattern.Value)
	if err != nil {
		return c.refuse(pattern, "%v", err)
	}
	return leaf(n, boolean, l, typed{Node: eval.Const(eval.TextOf(pattern.Value), pattern.String())}, func(a, _ eval.Value) eval.Value {
		if a.Kind != eval.Text {
			return eval.Value{}
		}
		return eval.Truth(re.MatchString(a.Str))
	})
}

func coalesce(n *ast.BinaryNode, l, r typed) typed {
	out := typed{&eval.Node{Args: []*eval.Node{l.Node, r.Node}, Text: n.String()}, unknown}
	if l.kind == r.kind {
		out.kind = l.kind
	}
	out.Eval = func(e *eval.Env) eval.Value {
		if v := l.Eval(e); !v.Missing() {
			return v
		}
		return r.Eval(e)
	}
	return out
}

// leaf makes a node of two operands.
func leaf(n ast.Node, k kind, l, r typed, apply func(a, b eval.Value) eval.Value) typed {
	left, right := l.Eval, r.Eval
	return typed{&eval.Node{Args: []*eval.Node{l.Node, r.Node}, Text: n.String(), Eval: func(e *eval.Env) eval.Value {
		return apply(left(e), right(e))
	}}, k}
}

// hint tells how to get a number out of a property.
func hint(t typed, n ast.Node) string {
	if t.kind == text && t.Op == eval.Reference {
		return "; write float(" + n.String() + ")"
	}
	return ""
}
