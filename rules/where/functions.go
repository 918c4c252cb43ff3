package where

import (
	"math"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/tidwall/gjson"

	"github.com/penstock-io/penstock/rules/eval"
)

// function is a builtin of expr that rules may call: those whose cost is bounded
// by the size of their arguments.
type function struct {
	args   []kind
	more   bool // the last argument may repeat
	result kind
	apply  func(args []eval.Value) eval.Value // every argument is of its kind and there
}

var functions = map[string]function{
	"len":         {args: []kind{unknown}, result: number, apply: length},
	"abs":         mathFunction(math.Abs),
	"ceil":        mathFunction(math.Ceil),
	"floor":       mathFunction(math.Floor),
	"round":       mathFunction(math.Round),
	"min":         {args: []kind{number, number}, more: true, result: number, apply: fold(math.Min)},
	"max":         {args: []kind{number, number}, more: true, result: number, apply: fold(math.Max)},
	"int":         {args: []kind{unknown}, result: number, apply: toInt},
	"float":       {args: []kind{unknown}, result: number, apply: toNumber},
	"string":      {args: []kind{unknown}, result: text, apply: toText},
	"lower":       textFunction(strings.ToLower),
	"upper":       textFunction(strings.ToUpper),
	"trim":        textFunction(strings.TrimSpace),
	"trimPrefix":  {args: []kind{text, text}, result: text, apply: textPair(strings.TrimPrefix)},
	"trimSuffix":  {args: []kind{text, text}, result: text, apply: textPair(strings.TrimSuffix)},
	"hasPrefix":   {args: []kind{text, text}, result: boolean, apply: textTestFunction(strings.HasPrefix)},
	"hasSuffix":   {args: []kind{text, text}, result: boolean, apply: textTestFunction(strings.HasSuffix)},
	"indexOf":     {args: []kind{text, text}, result: number, apply: textIndex(strings.Index)},
	"lastIndexOf": {args: []kind{text, text}, result: number, apply: textIndex(strings.LastIndex)},
}

var functionNames = func() string {
	names := make([]string, 0, len(functions))
	for name := range functions {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}()

func (c *compiler) call(n ast.Node, name string, arguments []ast.Node) typed {
	f, ok := functions[name]
	if !ok {
		return c.refuse(n, "the function %s is not allowed in rules; expected one of %s", name, functionNames)
	}
	if len(arguments) < len(f.args) || len(arguments) > len(f.args) && !f.more {
		return c.refuse(n, "%s takes %d arguments, not %d", name, len(f.args), len(arguments))
	}
	args, kinds := make([]*eval.Node, len(arguments)), make([]kind, len(arguments))
	for i, a := range arguments {
		arg := c.node(a)
		args[i], kinds[i] = arg.Node, f.args[min(i, len(f.args)-1)]
		if !arg.kind.could(kinds[i]) {
			c.refuse(a, "%s needs %s, but %s is %s%s", name, kinds[i], a.String(), arg.kind, hint(arg, a))
		}
	}
	return typed{&eval.Node{Args: args, Text: n.String(), Eval: caller(f, args, kinds)}, f.result}
}

// caller evaluates the arguments; a missing one, or one of the wrong kind, makes
// the call undefined.
func caller(f function, args []*eval.Node, kinds []kind) func(*eval.Env) eval.Value {
	return func(e *eval.Env) eval.Value {
		var few [4]eval.Value
		values := few[:0]
		for i, a := range args {
			v := a.Eval(e)
			if v.Missing() || kinds[i] == number && v.Kind != eval.Number || kinds[i] == text && v.Kind != eval.Text {
				return eval.Value{}
			}
			values = append(values, v)
		}
		return f.apply(values)
	}
}

func mathFunction(f func(float64) float64) function {
	return function{args: []kind{number}, result: number, apply: func(a []eval.Value) eval.Value { return eval.NumberOf(f(a[0].Num)) }}
}

func fold(f func(a, b float64) float64) func([]eval.Value) eval.Value {
	return func(args []eval.Value) eval.Value {
		out := args[0].Num
		for _, a := range args[1:] {
			out = f(out, a.Num)
		}
		return eval.NumberOf(out)
	}
}

func textFunction(f func(string) string) function {
	return function{args: []kind{text}, result: text, apply: func(a []eval.Value) eval.Value { return eval.TextOf(f(a[0].Str)) }}
}

func textPair(f func(a, b string) string) func([]eval.Value) eval.Value {
	return func(a []eval.Value) eval.Value { return eval.TextOf(f(a[0].Str, a[1].Str)) }
}

func textTestFunction(f func(a, b string) bool) func([]eval.Value) eval.Value {
	return func(a []eval.Value) eval.Value { return eval.Truth(f(a[0].Str, a[1].Str)) }
}

func textIndex(f func(s, part string) int) func([]eval.Value) eval.Value {
	return func(a []eval.Value) eval.Value { return eval.NumberOf(float64(f(a[0].Str, a[1].Str))) }
}

// length counts characters, elements or members.
func length(args []eval.Value) eval.Value {
	v := args[0]
	switch v.Kind {
	case eval.Text:
		return eval.NumberOf(float64(utf8.RuneCountInString(v.Str)))
	case eval.Array, eval.Object:
		n := 0
		gjson.Parse(v.Str).ForEach(func(_, _ gjson.Result) bool { n++; return true })
		return eval.NumberOf(float64(n))
	}
	return eval.Value{}
}

func toNumber(args []eval.Value) eval.Value {
	v := args[0]
	if v.Kind == eval.Number {
		return eval.NumberOf(v.Num)
	}
	if v.Kind != eval.Text {
		return eval.Value{}
	}
	return eval.ParseNumber(v.Str)
}

func toInt(args []eval.Value) eval.Value {
	v := toNumber(args)
	if v.Kind == eval.Number {
		return eval.NumberOf(math.Trunc(v.Num))
	}
	return v
}

func toText(args []eval.Value) eval.Value {
	v := args[0]
	switch v.Kind {
	case eval.Text:
		return v
	case eval.Bool:
		return eval.TextOf(strconv.FormatBool(v.True()))
	}
	return eval.TextOf(string(v.AppendJSON(nil)))
}
