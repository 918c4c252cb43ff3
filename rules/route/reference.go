package route

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/eval"
)

// reference compiles a property, $name or {$name} (contract 5.4).
func (c *checker) reference(e *expression) typed {
	name := e.at.text
	node := &eval.Node{Op: eval.Reference, Text: c.written(e)}
	switch {
	case e.op == opProperty:
		node.Eval = func(env *eval.Env) eval.Value { return env.Property(name, true) }
		return typed{Node: node, typ: tString}
	case !isBodyQuery(name):
		node.Eval = systemReader(name, e.op == opBraced)
		return typed{Node: node, typ: tString}
	case !c.features.body:
		return c.refuse(e.at, "Body queries are not supported")
	}
	steps, ok := parsePath(name[len(bodyPrefix):])
	if !ok {
		return c.refuse(e.at, "Body query '$%s' is not supported: expected names joined by '.', each with an optional [index]", name)
	}
	field := c.fields.Field(eval.NewPath(steps))
	node.Eval = bodyReader(field, name, e.op == opBraced)
	return typed{Node: node, typ: tBody}
}

// systemReader reads $name: an application property of that very name wins,
// unless the name was in braces.
func systemReader(name string, braced bool) func(*eval.Env) eval.Value {
	own := "$" + name
	return func(e *eval.Env) eval.Value {
		if !braced {
			if v := e.Property(own, true); v.Kind != eval.Undefined {
				return v
			}
		}
		return e.System(name)
	}
}

func bodyReader(field *eval.Field, name string, braced bool) func(*eval.Env) eval.Value {
	own := "$" + name
	return func(e *eval.Env) eval.Value {
		if !braced {
			if v := e.Property(own, true); v.Kind != eval.Undefined {
				return v
			}
		}
		if !Readable(e.Message()) {
			return eval.Value{}
		}
		if _, ok := e.JSON(); !ok {
			return eval.Value{}
		}
		v := e.Field(field)
		switch v.Kind {
		case eval.Undefined:
			return eval.NullValue()
		case eval.Object, eval.Array:
			return eval.Value{}
		case eval.Text:
			if isDate(v.Str) {
				return eval.Value{}
			}
		}
		return v
	}
}

// Readable reports whether the body may be looked into: it says that it is JSON
// in a UTF encoding. Twin changes are the hub's own and always are.
func Readable(m *message.Message) bool {
	t, _ := m.Sys(message.SysContentType)
	enc, _ := m.Sys(message.SysContentEncoding)
	if m.Kind == message.TwinChange && t.Value == "" && enc.Value == "" {
		return true
	}
	if !strings.EqualFold(t.Value, "application/json") {
		return false
	}
	return strings.EqualFold(enc.Value, "utf-8") || strings.EqualFold(enc.Value, "utf-16") || strings.EqualFold(enc.Value, "utf-32")
}

var microsoftDate = regexp.MustCompile(`^/Date\(-?[0-9]+([+-][0-9]{4})?\)/$`)

// isDate recognises text that the reference's JSON reader takes for a date.
func isDate(s string) bool {
	if strings.HasPrefix(s, "/Date(") {
		return microsoftDate.MatchString(s)
	}
	if len(s) < len("2006-01-02T15:04:05") || s[10] != 'T' {
		return false
	}
	for _, layout := range []string{"2006-01-02T15:04:05", time.RFC3339, "2006-01-02T15:04:05Z0700"} {
		if _, err := time.Parse(layout, s); err == nil {
			return true
		}
	}
	return false
}

// parsePath reads a body path: names joined by dots, each with an optional index.
func parsePath(path string) ([]eval.Step, bool) {
	var steps []eval.Step
	for _, part := range strings.Split(path, ".") {
		name, index, indexed := strings.Cut(part, "[")
		if name == "" || strings.ContainsAny(name, " ]") {
			return nil, false
		}
		steps = append(steps, eval.Step{Name: name})
		if !indexed {
			continue
		}
		digits, ok := strings.CutSuffix(index, "]")
		n, err := strconv.ParseUint(digits, 10, 31)
		if !ok || err != nil {
			return nil, false
		}
		steps = append(steps, eval.Step{Index: int(n), IsIndex: true})
	}
	return steps, true
}

func isTwinFunction(name string) bool { return strings.EqualFold(name, "twin_change_includes") }

// twinCall compiles twin_change_includes(path).
func (c *checker) twinCall(e *expression) typed {
	path := e.args[0].at
	switch {
	case !c.features.twin:
		return c.refuse(e.at, "Invalid built-in function '%s'", e.at.text)
	case !c.twin:
		return c.refuse(e.at, "'%s' is only supported for routes from /twinChangeNotifications", e.at.text)
	}
	steps, ok := parseTwinPath(path.text)
	if !ok {
		return c.refuse(path, "Twin path '%s' is not supported: expected a path below properties.reported, properties.desired or tags", path.text)
	}
	field := c.fields.Field(eval.NewPath(steps))
	return typed{Node: &eval.Node{Text: c.written(e), Eval: func(env *eval.Env) eval.Value {
		if !Readable(env.Message()) {
			return eval.Value{}
		}
		if _, ok := env.JSON(); !ok {
			return eval.Value{}
		}
		return eval.Truth(env.Field(field).Kind != eval.Undefined)
	}}, typ: tBool}
}

func parseTwinPath(path string) ([]eval.Step, bool) {
	for _, root := range []string{"properties.reported.", "properties.desired.", "tags."} {
		if strings.HasPrefix(path, root) && !strings.ContainsAny(path, "[]") {
			return parsePath(path)
		}
	}
	return nil, false
}
