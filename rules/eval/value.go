package eval

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// Kind is the type of a value found at run time.
type Kind uint8

// The kinds of values. The zero Value is Undefined.
const (
	Undefined Kind = iota // missing, or not computable
	Null
	Bool
	Number
	Text
	Array  // Str is its JSON
	Object // Str is its JSON
)

func (k Kind) String() string {
	return [...]string{"undefined", "null", "bool", "number", "text", "array", "object"}[k]
}

// Value is one value during evaluation. Text and JSON may share the memory of
// the message it was read from.
type Value struct {
	Kind Kind
	Num  float64 // Number; for Bool 1 is true
	Str  string  // Text, Array, Object; for a Number read from JSON its digits as written
}

// Truth is the boolean b.
func Truth(b bool) Value {
	if b {
		return Value{Kind: Bool, Num: 1}
	}
	return Value{Kind: Bool}
}

// NumberOf is f; NaN is Undefined.
func NumberOf(f float64) Value {
	if math.IsNaN(f) {
		return Value{}
	}
	return Value{Kind: Number, Num: f}
}

// ParseNumber reads a decimal number with optional sign, fraction and exponent,
// and white space around it. What is too large is infinite; anything else is Undefined.
func ParseNumber(s string) Value {
	s = strings.TrimSpace(s)
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && !strings.ContainsRune("+-.eE", rune(c)) {
			return Value{}
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return Value{}
	}
	return NumberOf(f)
}

// TextOf is the text s.
func TextOf(s string) Value { return Value{Kind: Text, Str: s} }

// NullValue is null.
func NullValue() Value { return Value{Kind: Null} }

// True reports whether v is the boolean true; only that makes a rule match.
func (v Value) True() bool { return v.Kind == Bool && v.Num == 1 }

// False reports whether v is the boolean false.
func (v Value) False() bool { return v.Kind == Bool && v.Num == 0 }

// Missing reports whether v is undefined or null.
func (v Value) Missing() bool { return v.Kind <= Null }

// FromJSON converts what gjson found in valid JSON.
func FromJSON(r gjson.Result) Value {
	switch r.Type {
	case gjson.String:
		return TextOf(r.Str)
	case gjson.Number:
		return Value{Kind: Number, Num: r.Num, Str: r.Raw}
	case gjson.True:
		return Truth(true)
	case gjson.False:
		return Truth(false)
	case gjson.JSON:
		if r.IsArray() {
			return Value{Kind: Array, Str: r.Raw}
		}
		return Value{Kind: Object, Str: r.Raw}
	}
	if !r.Exists() {
		return Value{}
	}
	return NullValue()
}

// AppendJSON appends v as JSON; what is undefined or not a JSON number is null.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.Kind {
	case Bool:
		return strconv.AppendBool(dst, v.Num == 1)
	case Number:
		if v.Str != "" {
			return append(dst, v.Str...)
		}
		if math.IsInf(v.Num, 0) {
			return append(dst, "null"...)
		}
		return appendFloat(dst, v.Num)
	case Text:
		return gjson.AppendJSONString(dst, v.Str)
	case Array, Object:
		return append(dst, v.Str...)
	}
	return append(dst, "null"...)
}

// appendFloat writes whole numbers without an exponent as far as they are exact.
func appendFloat(dst []byte, f float64) []byte {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.AppendInt(dst, int64(f), 10)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

const shownLimit = 120 // bytes of a value that an explanation shows

// String shows v to people: JSON, cut when long, or "missing".
func (v Value) String() string {
	switch {
	case v.Kind == Undefined:
		return "undefined"
	case v.Kind == Number && math.IsInf(v.Num, 1):
		return "infinity"
	case v.Kind == Number && math.IsInf(v.Num, -1):
		return "-infinity"
	}
	s := string(v.AppendJSON(nil))
	if len(s) <= shownLimit {
		return s
	}
	cut := shownLimit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
