package route

import (
	"math"
	"strings"

	"github.com/penstock-io/penstock/rules/eval"
)

// and is Kleene's and, except that null makes it null.
func and(l, r *eval.Node) *eval.Node {
	return &eval.Node{Op: eval.And, Args: []*eval.Node{l, r}, Eval: func(e *eval.Env) eval.Value {
		a := l.Eval(e)
		if a.False() {
			return a
		}
		b := r.Eval(e)
		switch {
		case b.False() && a.Kind != eval.Null, a.True() && b.True():
			return b
		case a.Kind == eval.Null || b.Kind == eval.Null:
			return eval.NullValue()
		}
		return eval.Value{}
	}}
}

// or is Kleene's or, except that null gives way to the other side.
func or(l, r *eval.Node) *eval.Node {
	return &eval.Node{Op: eval.Or, Args: []*eval.Node{l, r}, Eval: func(e *eval.Env) eval.Value {
		a := l.Eval(e)
		if a.True() {
			return a
		}
		b := r.Eval(e)
		switch {
		case b.True(), a.Kind == eval.Null:
			return b
		case b.Kind == eval.Null:
			return a
		case a.False() && b.False():
			return b
		}
		return eval.Value{}
	}}
}

// not turns null into true.
func not(n *eval.Node, text string) *eval.Node {
	return &eval.Node{Op: eval.Not, Args: []*eval.Node{n}, Text: text, Eval: func(e *eval.Env) eval.Value {
		switch v := n.Eval(e); v.Kind {
		case eval.Bool:
			return eval.Truth(!v.True())
		case eval.Null:
			return eval.Truth(true)
		}
		return eval.Value{}
	}}
}

func arithmetic(op string) func(a, b eval.Value) eval.Value {
	compute := map[string]func(a, b float64) float64{
		"+": func(a, b float64) float64 { return a + b },
		"-": func(a, b float64) float64 { return a - b },
		"*": func(a, b float64) float64 { return a * b },
		"/": func(a, b float64) float64 { return a / b },
		"%": math.Mod,
	}[op]
	return func(a, b eval.Value) eval.Value {
		if a.Kind != eval.Number || b.Kind != eval.Number {
			return eval.Value{}
		}
		return eval.NumberOf(compute(a.Num, b.Num))
	}
}

// equality compares two values. Of values from a body, different types differ;
// elsewhere null against another type is undefined. Null properties, and objects,
// arrays and dates of a body, do not compare.
func equality(want bool, left, right staticType) func(a, b eval.Value) eval.Value {
	body := left == tBody || right == tBody
	return func(a, b eval.Value) eval.Value {
		switch {
		case !comparable(a, left) || !comparable(b, right):
			return eval.Value{}
		case a.Kind != b.Kind:
			if !body {
				return eval.Value{}
			}
			return eval.Truth(!want)
		case a.Kind == eval.Text:
			return eval.Truth((a.Str == b.Str) == want)
		}
		return eval.Truth((a.Num == b.Num) == want)
	}
}

func comparable(v eval.Value, typ staticType) bool {
	return v.Kind > eval.Null && v.Kind <= eval.Text || v.Kind == eval.Null && typ != tString
}

func ordering(op string) func(a, b eval.Value) eval.Value {
	return func(a, b eval.Value) eval.Value {
		if a.Kind != b.Kind {
			return eval.Value{}
		}
		order := 0
		switch a.Kind {
		case eval.Number:
			switch {
			case a.Num < b.Num:
				order = -1
			case a.Num > b.Num:
				order = 1
			}
		case eval.Text:
			order = strings.Compare(a.Str, b.Str)
		default:
			return eval.Value{}
		}
		switch op {
		case "<":
			return eval.Truth(order < 0)
		case "<=":
			return eval.Truth(order <= 0)
		case ">":
			return eval.Truth(order > 0)
		}
		return eval.Truth(order >= 0)
	}
}

// maxJoined bounds what concatenation may build, whatever the message brings.
const maxJoined = 1 << 20

// concat joins texts; null counts as empty, anything else makes it undefined.
func concat(v []eval.Value) eval.Value {
	size := 0
	for _, part := range v {
		if part.Kind != eval.Text && part.Kind != eval.Null {
			return eval.Value{}
		}
		size += len(part.Str)
	}
	if size > maxJoined {
		return eval.Value{}
	}
	var out strings.Builder
	out.Grow(size)
	for _, part := range v {
		out.WriteString(part.Str)
	}
	return eval.TextOf(out.String())
}
