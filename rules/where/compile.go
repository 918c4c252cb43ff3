package where

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"github.com/penstock-io/penstock/rules/eval"
)

const (
	maxSource = 8 << 10 // bytes of one expression
	maxNodes  = 1000
)

// kind is what is known of an expression's value before any message.
type kind uint8

const (
	unknown kind = iota
	boolean
	number
	text
	none // nil
)

func (k kind) String() string {
	return [...]string{"unknown", "a boolean", "a number", "text", "nil"}[k]
}

// could reports whether a value of kind k may turn out to be a want.
func (k kind) could(want kind) bool { return k == unknown || want == unknown || k == want }

// typed is a compiled expression and its kind.
type typed struct {
	*eval.Node
	kind kind
}

// Condition compiles source, which must be true or false. Body fields are
// numbered by fields. The error is an eval.Faults.
func Condition(source string, fields *eval.Fields) (*eval.Node, error) {
	c := compiler{source: source, fields: fields}
	n, err := c.compile()
	if err == nil && !n.kind.could(boolean) {
		return nil, eval.Faults{c.faultAt(0, utf8.RuneCountInString(source), "the condition is %s; expected true or false, such as a comparison", n.kind)}
	}
	return n.Node, err
}

// Expression compiles source, whose value may be anything.
func Expression(source string, fields *eval.Fields) (*eval.Node, error) {
	c := compiler{source: source, fields: fields}
	n, err := c.compile()
	return n.Node, err
}

type compiler struct {
	source string
	fields *eval.Fields
	faults eval.Faults
}

func (c *compiler) compile() (typed, error) {
	if len(c.source) > maxSource {
		return typed{}, eval.Faults{c.faultAt(0, 0, "the expression is longer than %d bytes", maxSource)}
	}
	tree, err := parser.ParseWithConfig(c.source, &conf.Config{MaxNodes: maxNodes})
	if err != nil {
		return typed{}, eval.Faults{c.syntaxFault(err)}
	}
	if twice := shared(tree.Node, map[ast.Node]bool{}); twice != nil {
		at := twice.Location()
		return typed{}, eval.Faults{c.faultAt(at.From, at.To, "chained comparisons and ?: are not allowed in rules; write a < b && b < c, or a ?? b")}
	}
	n := c.node(tree.Node)
	if len(c.faults) > 0 {
		return typed{}, c.faults
	}
	return n, nil
}

func (c *compiler) syntaxFault(err error) eval.Fault {
	var at *file.Error
	if !errors.As(err, &at) {
		return c.faultAt(0, 0, "%v", err)
	}
	if at.Message == "unexpected token EOF" {
		return c.faultAt(at.From, at.To, "the expression ends where a value was expected")
	}
	return c.faultAt(at.From, at.To, "%s", at.Message)
}

// faultAt places a fault at characters from … to of the source.
func (c *compiler) faultAt(from, to int, format string, args ...any) eval.Fault {
	f := eval.Fault{Text: fmt.Sprintf(format, args...)}
	f.Line, f.Column = eval.Position(c.source, from)
	f.EndLine, f.EndColumn = eval.Position(c.source, max(from, to))
	return f
}

// refuse records a fault at n. The node it returns stands for whatever n was
// meant to be, so that one mistake is reported once.
func (c *compiler) refuse(n ast.Node, format string, args ...any) typed {
	at := n.Location()
	c.faults = append(c.faults, c.faultAt(at.From, at.To, format, args...))
	return typed{Node: eval.Const(eval.Value{}, n.String())}
}

func (c *compiler) node(n ast.Node) typed {
	switch n := n.(type) {
	case *ast.NilNode:
		return typed{eval.Const(eval.NullValue(), "nil"), none}
	case *ast.IntegerNode:
		return typed{eval.Const(eval.NumberOf(float64(n.Value)), n.String()), number}
	case *ast.FloatNode:
		return typed{eval.Const(eval.NumberOf(n.Value), n.String()), number}
	case *ast.BoolNode:
		return typed{eval.Const(eval.Truth(n.Value), n.String()), boolean}
	case *ast.StringNode:
		return typed{eval.Const(eval.TextOf(n.Value), n.String()), text}
	case *ast.IdentifierNode, *ast.MemberNode, *ast.ChainNode:
		return c.reference(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		return c.refuse(n, "unknown function %s; expected one of %s", n.Callee.String(), functionNames)
	case *ast.VariableDeclaratorNode, *ast.SequenceNode:
		return c.refuse(n, "variables and sequences are not allowed in rules")
	case *ast.SliceNode:
		return c.refuse(n, "slices are not allowed in rules")
	case *ast.ArrayNode:
		return c.refuse(n, "a list may stand only to the right of in")
	}
	return c.refuse(n, "%s is not allowed in rules", n.String())
}

func (c *compiler) conditional(n *ast.ConditionalNode) typed {
	cond, yes, no := c.node(n.Cond), c.node(n.Exp1), c.node(n.Exp2)
	if !cond.kind.could(boolean) {
		c.refuse(n.Cond, "%s is %s; expected true or false before ?", n.Cond.String(), cond.kind)
	}
	out := typed{&eval.Node{Args: []*eval.Node{cond.Node, yes.Node, no.Node}, Text: n.String()}, unknown}
	if yes.kind == no.kind {
		out.kind = yes.kind
	}
	out.Eval = func(e *eval.Env) eval.Value {
		switch v := cond.Eval(e); {
		case v.True():
			return yes.Eval(e)
		case v.False():
			return no.Eval(e)
		}
		return eval.Value{}
	}
	return out
}
