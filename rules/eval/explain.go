package eval

// Condition is a part of a condition that kept the whole from being true.
type Condition struct {
	Text   string `json:"text"`
	Result string `json:"result"` // false, undefined or null; true under a "not"
	Saw    []Seen `json:"saw,omitempty"`
}

// Seen is the value that a condition found under one name.
type Seen struct {
	Name  string `json:"name"`
	Value string `json:"value"` // JSON, or "missing"
}

// Why returns the parts of n that are to blame for it not being true, in the
// order they were written; nothing when n is true.
func Why(n *Node, e *Env) []Condition { return why(nil, n, e) }

func why(dst []Condition, n *Node, e *Env) []Condition {
	v := n.Eval(e)
	if v.True() {
		return dst
	}
	if n.Op == And || n.Op == Or {
		for _, arg := range n.Args {
			dst = why(dst, arg, e)
		}
		return dst
	}
	return append(dst, Condition{Text: n.Text, Result: v.String(), Saw: saw(nil, n, e)})
}

// saw collects what the references below n found, each name once.
func saw(dst []Seen, n *Node, e *Env) []Seen {
	if n.Op == Reference {
		for _, s := range dst {
			if s.Name == n.Text {
				return dst
			}
		}
		shown := "missing"
		if v := n.Eval(e); v.Kind != Undefined {
			shown = v.String()
		}
		return append(dst, Seen{Name: n.Text, Value: shown})
	}
	for _, arg := range n.Args {
		dst = saw(dst, arg, e)
	}
	return dst
}
