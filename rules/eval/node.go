package eval

// Op says how a node's truth follows from its arguments, as far as an
// explanation needs to know.
type Op uint8

// The kinds of nodes.
const (
	Leaf Op = iota // a comparison, a call, arithmetic
	Constant
	Reference // a property or field of the message; Text is its name
	And
	Or
	Not
)

// Node is a compiled expression.
type Node struct {
	Eval func(*Env) Value
	Op   Op
	Args []*Node
	Text string // as its author wrote it; empty for And and Or, whose parts say it
}

// Const is a node of one value.
func Const(v Value, text string) *Node {
	return &Node{Op: Constant, Text: text, Eval: func(*Env) Value { return v }}
}

// BodyField is a node that reads f.
func BodyField(f *Field, text string) *Node {
	return &Node{Op: Reference, Text: text, Eval: func(e *Env) Value { return e.Field(f) }}
}

// AndOf is Kleene's and: false if either is false, else undefined if either is
// no boolean.
func AndOf(l, r *Node) *Node {
	left, right := l.Eval, r.Eval
	return &Node{Op: And, Args: []*Node{l, r}, Eval: func(e *Env) Value {
		a := left(e)
		if a.False() {
			return a
		}
		b := right(e)
		switch {
		case b.False(), a.True() && b.True():
			return b
		}
		return Value{}
	}}
}

// OrOf is Kleene's or: true if either is true, else undefined if either is no boolean.
func OrOf(l, r *Node) *Node {
	left, right := l.Eval, r.Eval
	return &Node{Op: Or, Args: []*Node{l, r}, Eval: func(e *Env) Value {
		a := left(e)
		if a.True() {
			return a
		}
		b := right(e)
		switch {
		case b.True(), a.False() && b.False():
			return b
		}
		return Value{}
	}}
}

// NotOf is undefined when n is no boolean.
func NotOf(n *Node, text string) *Node {
	arg := n.Eval
	return &Node{Op: Not, Args: []*Node{n}, Text: text, Eval: func(e *Env) Value {
		if v := arg(e); v.Kind == Bool {
			return Truth(!v.True())
		}
		return Value{}
	}}
}
