package where

import (
	"github.com/expr-lang/expr/ast"
	"github.com/tidwall/gjson"

	"github.com/penstock-io/penstock/rules/eval"
)

// in compiles membership: of a constant list, of the elements of an array in the
// body, or of the names of an object there.
func (c *compiler) in(n *ast.BinaryNode) typed {
	l := c.node(n.Left)
	if list, ok := n.Right.(*ast.ArrayNode); ok {
		return c.inList(n, l, list)
	}
	r := c.node(n.Right)
	if r.kind != unknown {
		return c.refuse(n, "in needs a list or a field of the body on its right, but %s is %s", n.Right.String(), r.kind)
	}
	return leaf(n, boolean, l, r, func(item, all eval.Value) eval.Value {
		if item.Missing() || all.Kind != eval.Array && all.Kind != eval.Object {
			return eval.Value{}
		}
		found := false
		gjson.Parse(all.Str).ForEach(func(key, value gjson.Result) bool {
			if all.Kind == eval.Object {
				value = key
			}
			found = equal(item, eval.FromJSON(value))
			return !found
		})
		return eval.Truth(found)
	})
}

func (c *compiler) inList(n *ast.BinaryNode, l typed, list *ast.ArrayNode) typed {
	values := make([]eval.Value, 0, len(list.Nodes))
	for _, item := range list.Nodes {
		v := c.node(item)
		switch {
		case v.Op != eval.Constant:
			c.refuse(item, "%s is not constant; expected texts or numbers in the list", item.String())
		case !l.kind.could(v.kind) && v.kind != none:
			c.refuse(item, "%s is never %s: %s against %s%s", n.Left.String(), item.String(), l.kind, v.kind, hint(l, n.Left))
		default:
			values = append(values, v.Eval(nil))
		}
	}
	return typed{&eval.Node{Args: []*eval.Node{l.Node}, Text: n.String(), Eval: func(e *eval.Env) eval.Value {
		item := l.Eval(e)
		for _, v := range values {
			if equal(item, v) {
				return eval.Truth(true)
			}
		}
		return eval.Truth(false)
	}}, boolean}
}
