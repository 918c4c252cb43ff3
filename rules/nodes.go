package rules

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

func (r *reader) oneOrMore(n ast.Node) []ast.Node {
	if seq, ok := n.(*ast.SequenceNode); ok {
		if len(seq.Values) == 0 {
			r.fault(r.document.at(firstToken(n)), "an empty list")
		}
		return seq.Values
	}
	return []ast.Node{n}
}

func (r *reader) items(n ast.Node, want string) []ast.Node {
	switch n := n.(type) {
	case *ast.SequenceNode:
		return n.Values
	case *ast.NullNode:
		return nil
	}
	r.fault(r.document.at(firstToken(n)), "%s; expected %s", nodeName(n), want)
	return nil
}

func isMapping(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// members goes through a mapping; want says what was expected of another node.
func (r *reader) members(n ast.Node, want string) func(yield func(scalar, ast.Node) bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.fault(r.document.at(firstToken(n)), "%s; expected %s", nodeName(n), want)
	}
	return func(yield func(scalar, ast.Node) bool) {
		for _, v := range values {
			key, ok := r.scalar(v.Key, "a key")
			if ok && !yield(key, v.Value) {
				return
			}
		}
	}
}

// scalar returns the text of a plain, quoted or block scalar.
func (r *reader) scalar(n ast.Node, want string) (scalar, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return scalar{text: n.Value, start: n.Token, style: n.Token.Type}, true
	case *ast.LiteralNode:
		return scalar{text: n.Value.Value, start: n.Start, style: n.Start.Type}, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		t := n.GetToken()
		return scalar{text: t.Value, start: t, style: t.Type}, true
	}
	r.fault(r.document.at(firstToken(n)), "%s; expected %s", nodeName(n), want)
	return scalar{}, false
}

// firstToken is where a node begins; a block mapping's own token is its colon.
func firstToken(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return firstToken(n.Values[0])
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

func nodeName(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "nothing here"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "anchors and aliases are not supported"
	case *ast.TagNode:
		return "tags are not supported"
	}
	return "a " + strings.ToLower(n.Type().String())
}
