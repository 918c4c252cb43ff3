package where

import "github.com/expr-lang/expr/ast"

// shared finds a node that hangs below two others. expr's parser makes such
// nodes for chained comparisons (a < b < c) and for ?:, and nesting them makes
// the work of whoever follows both ways grow exponentially.
func shared(n ast.Node, seen map[ast.Node]bool) ast.Node {
	if n == nil {
		return nil
	}
	if seen[n] {
		return n
	}
	seen[n] = true
	for _, child := range children(n) {
		if twice := shared(child, seen); twice != nil {
			return twice
		}
	}
	return nil
}

func children(n ast.Node) []ast.Node {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return []ast.Node{n.Node}
	case *ast.BinaryNode:
		return []ast.Node{n.Left, n.Right}
	case *ast.ChainNode:
		return []ast.Node{n.Node}
	case *ast.MemberNode:
		return []ast.Node{n.Node, n.Property}
	case *ast.SliceNode:
		return []ast.Node{n.Node, n.From, n.To}
	case *ast.CallNode:
		return append([]ast.Node{n.Callee}, n.Arguments...)
	case *ast.BuiltinNode:
		return n.Arguments
	case *ast.PredicateNode:
		return []ast.Node{n.Node}
	case *ast.VariableDeclaratorNode:
		return []ast.Node{n.Value, n.Expr}
	case *ast.SequenceNode:
		return n.Nodes
	case *ast.ConditionalNode:
		return []ast.Node{n.Cond, n.Exp1, n.Exp2}
	case *ast.ArrayNode:
		return n.Nodes
	case *ast.MapNode:
		return n.Pairs
	case *ast.PairNode:
		return []ast.Node{n.Key, n.Value}
	}
	return nil
}
