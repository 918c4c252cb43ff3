package route

import (
	"math"
	"strings"
	"unicode/utf16"

	"github.com/penstock-io/penstock/rules/eval"
)

// overload is one way to call a function.
type overload struct {
	args   []staticType // tUndefined: any type
	more   bool         // the last argument may repeat
	result staticType
	apply  func([]eval.Value) eval.Value
}

// functions are the built-in functions of contract 5.6, by lower-case name.
var functions = map[string][]overload{
	"as_number":  {{args: []staticType{tString}, result: tNumber, apply: asNumber}, {args: []staticType{tNumber}, result: tNumber, apply: asNumber}},
	"is_bool":    {kindTest(func(v eval.Value) bool { return v.Kind == eval.Bool })},
	"is_defined": {kindTest(func(v eval.Value) bool { return v.Kind != eval.Undefined })},
	"is_null":    {kindTest(func(v eval.Value) bool { return v.Kind == eval.Null })},
	"is_number":  {kindTest(func(v eval.Value) bool { return v.Kind == eval.Number && !math.IsInf(v.Num, 0) })},
	"is_string":  {kindTest(func(v eval.Value) bool { return v.Kind == eval.Text })},

	"abs":     {numeric(1, func(x []float64) float64 { return math.Abs(x[0]) })},
	"exp":     {numeric(1, func(x []float64) float64 { return math.Exp(x[0]) })},
	"power":   {numeric(2, func(x []float64) float64 { return math.Pow(x[0], x[1]) })},
	"square":  {numeric(1, func(x []float64) float64 { return x[0] * x[0] })},
	"ceiling": {numeric(1, func(x []float64) float64 { return math.Ceil(x[0]) })},
	"floor":   {numeric(1, func(x []float64) float64 { return math.Floor(x[0]) })},
	"sign":    {numeric(1, func(x []float64) float64 { return sign(x[0]) })},
	"sqrt":    {numeric(1, func(x []float64) float64 { return math.Sqrt(x[0]) })},

	"concat":      {{args: []staticType{tString, tString}, more: true, result: tString, apply: concat}},
	"length":      {textual(1, tNumber, func(s []string) eval.Value { return eval.NumberOf(float64(units(s[0]))) })},
	"lower":       {textual(1, tString, func(s []string) eval.Value { return eval.TextOf(strings.ToLower(s[0])) })},
	"upper":       {textual(1, tString, func(s []string) eval.Value { return eval.TextOf(strings.ToUpper(s[0])) })},
	"index_of":    {textual(2, tNumber, indexOf)},
	"starts_with": {textual(2, tBool, func(s []string) eval.Value { return eval.Truth(strings.HasPrefix(s[0], s[1])) })},
	"ends_with":   {textual(2, tBool, func(s []string) eval.Value { return eval.Truth(strings.HasSuffix(s[0], s[1])) })},
	"contains":    {textual(2, tBool, func(s []string) eval.Value { return eval.Truth(strings.Contains(s[0], s[1])) })},
	"substring": {
		{args: []staticType{tString, tNumber}, result: tString, apply: substring},
		{args: []staticType{tString, tNumber, tNumber}, result: tString, apply: substring},
	},
}

func (c *checker) call(e *expression) typed {
	args, have := make([]typed, len(e.args)), make([]string, len(e.args))
	for i, a := range e.args {
		args[i] = c.check(a)
		have[i] = args[i].typ.String()
	}
	ways, ok := functions[strings.ToLower(e.at.text)]
	if !ok {
		return c.refuse(e.at, "Invalid built-in function '%s'", e.at.text)
	}
	for _, way := range ways {
		if way.takes(args) {
			return c.leaf(e, way.result, way.apply, args...)
		}
	}
	if c.follows(args...) {
		return broken()
	}
	return c.refuse(e.at, "Invalid arguments to built-in function '%s': %s(%s)", e.at.text, e.at.text, strings.Join(have, ", "))
}

func (o overload) takes(args []typed) bool {
	if len(args) < len(o.args) || len(args) > len(o.args) && !o.more {
		return false
	}
	for i, a := range args {
		if want := o.args[min(i, len(o.args)-1)]; want != tUndefined && !a.typ.is(want) {
			return false
		}
	}
	return true
}

func kindTest(holds func(eval.Value) bool) overload {
	return overload{args: []staticType{tUndefined}, result: tBool, apply: func(v []eval.Value) eval.Value { return eval.Truth(holds(v[0])) }}
}

// numeric is a function of n numbers, undefined when one of them is not.
func numeric(n int, f func([]float64) float64) overload {
	args := make([]staticType, n)
	for i := range args {
		args[i] = tNumber
	}
	return overload{args: args, result: tNumber, apply: func(v []eval.Value) eval.Value {
		var x [2]float64
		for i := range v {
			if v[i].Kind != eval.Number {
				return eval.Value{}
			}
			x[i] = v[i].Num
		}
		return eval.NumberOf(f(x[:n]))
	}}
}

// textual is a function of n texts, undefined when one of them is not.
func textual(n int, result staticType, f func([]string) eval.Value) overload {
	args := make([]staticType, n)
	for i := range args {
		args[i] = tString
	}
	return overload{args: args, result: result, apply: func(v []eval.Value) eval.Value {
		var s [2]string
		for i := range v {
			if v[i].Kind != eval.Text {
				return eval.Value{}
			}
			s[i] = v[i].Str
		}
		return f(s[:n])
	}}
}

func asNumber(v []eval.Value) eval.Value {
	switch v[0].Kind {
	case eval.Number:
		return eval.NumberOf(v[0].Num)
	case eval.Text:
		return eval.ParseNumber(v[0].Str)
	}
	return eval.Value{}
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x // 0 or NaN
}

// units is the length of s in UTF-16 code units, in which the reference counts.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

func indexOf(s []string) eval.Value {
	at := strings.Index(s[0], s[1])
	if at > 0 {
		at = units(s[0][:at])
	}
	return eval.NumberOf(float64(at))
}

// substring(s, start[, length]): without a length start may be the end of s,
// with one it must be inside s and the piece too.
func substring(v []eval.Value) eval.Value {
	for i, kind := range []eval.Kind{eval.Text, eval.Number, eval.Number}[:len(v)] {
		if v[i].Kind != kind {
			return eval.Value{}
		}
	}
	text := utf16.Encode([]rune(v[0].Str))
	size := float64(len(text))
	start, end := math.Trunc(v[1].Num), size
	if len(v) == 3 {
		end = start + math.Trunc(v[2].Num)
		if start >= size {
			return eval.Value{}
		}
	}
	if !(0 <= start && start <= end && end <= size) {
		return eval.Value{}
	}
	return eval.TextOf(string(utf16.Decode(text[int(start):int(end)])))
}
