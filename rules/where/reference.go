package where

import (
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/eval"
)

const roots = "body, properties, system, topic, device, module, output"

// reference compiles a name, or members of one: body.a[0].b, properties["x"].
func (c *compiler) reference(n ast.Node) typed {
	root, steps, ok := c.members(n)
	if !ok {
		return typed{Node: eval.Const(eval.Value{}, n.String())}
	}
	name := n.String()
	switch root {
	case "body":
		return typed{eval.BodyField(c.fields.Field(eval.NewPath(steps)), name), unknown}
	case "properties":
		return c.property(n, steps)
	case "system":
		return c.system(n, steps)
	}
	read := origins[root]
	if read == nil {
		return c.refuse(n, "unknown name %s; expected one of %s", root, roots)
	}
	if len(steps) > 0 {
		return c.refuse(n, "%s is text and has no members", root)
	}
	return typed{&eval.Node{Op: eval.Reference, Text: name, Eval: read}, text}
}

// origins are the names that say where a message comes from.
var origins = map[string]func(*eval.Env) eval.Value{
	"topic":  of(func(m *message.Message) string { return m.Topic }),
	"device": of(func(m *message.Message) string { return m.Device }),
	"module": of(func(m *message.Message) string { return m.Module }),
	"output": of(func(m *message.Message) string { return m.Output }),
}

func of(field func(*message.Message) string) func(*eval.Env) eval.Value {
	return func(e *eval.Env) eval.Value { return eval.NonEmpty(field(e.Message())) }
}

func (c *compiler) property(n ast.Node, steps []eval.Step) typed {
	name, ok := oneName(steps)
	if !ok {
		return c.refuse(n, "expected one name after properties, such as properties.alert or properties[\"alert\"]")
	}
	return typed{&eval.Node{Op: eval.Reference, Text: n.String(), Eval: func(e *eval.Env) eval.Value {
		return e.Property(name, false)
	}}, text}
}

func (c *compiler) system(n ast.Node, steps []eval.Step) typed {
	name, ok := oneName(steps)
	if !ok {
		return c.refuse(n, "expected one name after system, such as system.messageId")
	}
	if !slices.ContainsFunc(eval.SystemNames, func(known string) bool { return strings.EqualFold(known, name) }) {
		return c.refuse(n, "unknown system property %s; expected one of %s", name, strings.Join(eval.SystemNames, ", "))
	}
	return typed{&eval.Node{Op: eval.Reference, Text: n.String(), Eval: func(e *eval.Env) eval.Value {
		return e.System(name)
	}}, text}
}

func oneName(steps []eval.Step) (string, bool) {
	if len(steps) != 1 || steps[0].IsIndex {
		return "", false
	}
	return steps[0].Name, true
}

// members takes a chain of member accesses apart into its root and its steps.
func (c *compiler) members(n ast.Node) (root string, steps []eval.Step, ok bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value, nil, true
	case *ast.ChainNode:
		return c.members(n.Node)
	case *ast.MemberNode:
		if root, steps, ok = c.members(n.Node); !ok {
			return "", nil, false
		}
		step, ok := constantStep(n.Property)
		if !ok {
			c.refuse(n.Property, "%s is not constant; expected a name or a whole number", n.Property.String())
			return "", nil, false
		}
		return root, append(steps, step), true
	}
	c.refuse(n, "%s has no members; only body, properties and system have", n.String())
	return "", nil, false
}

func constantStep(n ast.Node) (eval.Step, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return eval.Step{Name: n.Value}, true
	case *ast.IntegerNode:
		return eval.Step{Index: n.Value, IsIndex: true}, true
	case *ast.UnaryNode:
		if i, ok := n.Node.(*ast.IntegerNode); ok && n.Operator == "-" {
			return eval.Step{Index: -i.Value, IsIndex: true}, true
		}
	}
	return eval.Step{}, false
}
