package eval

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
)

func envOf(body string, encoding string) *Env {
	e := NewEnv(&Fields{})
	m := &message.Message{Body: []byte(body)}
	if encoding != "" {
		m.System = []message.Property{{Name: "contentEncoding", Value: encoding}}
	}
	e.Reset(m)
	return e
}

func TestBodies(t *testing.T) {
	deep := strings.Repeat(`{"a":[`, 300) + strings.Repeat("]}", 300)
	quoted := `{"a":"` + strings.Repeat("[", 2000) + `\""}`
	for _, c := range []struct {
		name, body, encoding, want string
	}{
		{"object", `{"a":1}`, "", `{"a":1}`},
		{"byte order mark", "\ufeff{}", "utf-8", "{}"},
		{"utf-16 little", "\xff\xfe[\x00]\x00", "UTF-16", "[]"},
		{"utf-16 big", "\xfe\xff\x00[\x00]", "utf-16", "[]"},
		{"utf-16 unmarked", "[\x00]\x00", "utf-16", "[]"},
		{"utf-32 big", "\x00\x00\xfe\xff\x00\x00\x00[\x00\x00\x00]", "utf-32", "[]"},
		{"utf-32 little", "\xff\xfe\x00\x00[\x00\x00\x00]\x00\x00\x00", "utf-32", "[]"},
		{"brackets in a string", quoted, "", quoted},
		{"empty", "", "", "no"},
		{"text", "hello", "", "no"},
		{"cut off", `{"a":`, "", "no"},
		{"two values", `{} {}`, "", "no"},
		{"not utf-8", "\"\xff\"", "", "no"},
		{"odd utf-16", "[\x00]", "utf-16", "no"},
		{"odd utf-32", "[\x00\x00\x00]", "utf-32", "no"},
		{"no rune", "\xff\xff\xff\xff", "utf-32", "no"},
		{"too deep", deep, "", "no"},
	} {
		got, ok := envOf(c.body, c.encoding).JSON()
		if !ok {
			got = "no"
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestFieldsAreFoundOnce: an Env remembers a field for one message only.
func TestFieldsAreFoundOnce(t *testing.T) {
	var fields Fields
	f, same := fields.Field(NewPath([]Step{{Name: "a"}})), fields.Field(NewPath([]Step{{Name: "a"}}))
	other := fields.Field(NewPath([]Step{{Name: "a"}, {Index: 0, IsIndex: true}}))
	if f != same || f == other || fields.Len() != 2 {
		t.Fatal("fields are not told apart by their paths")
	}
	e := NewEnv(&fields)
	for _, c := range []struct{ body, want string }{{`{"a":1}`, "1"}, {`{"a":2}`, "2"}, {`{}`, "undefined"}, {`x`, "undefined"}} {
		e.Reset(&message.Message{Body: []byte(c.body)})
		if got := e.Field(f).String() + e.Field(f).String(); got != c.want+c.want {
			t.Errorf("%s: %s", c.body, got)
		}
	}
	e.round = math.MaxUint32
	e.Reset(&message.Message{Body: []byte(`{"a":3}`)})
	if got := e.Field(f).String(); got != "3" {
		t.Errorf("after the rounds wrapped: %s", got)
	}
}

// TestPathsFindWhatDecodingFinds compares with encoding/json.
func TestPathsFindWhatDecodingFinds(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b1", "0", "", "x.y", "we ird", "a*?", "#", "@this", "é", "!x", "a|b", `q"`, `\`, "-1", "{", "["})
	leaf := rapid.OneOf(rapid.Just[any](nil), rapid.Just[any](true), rapid.Just[any]("text"), rapid.Map(rapid.IntRange(-5, 5), func(i int) any { return float64(i) }))
	var tree func(depth int) *rapid.Generator[any]
	tree = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(tree(depth-1), 0, 3), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(names, tree(depth-1), 0, 4), func(v map[string]any) any { return v }))
	}
	step := rapid.Custom(func(t *rapid.T) Step {
		if rapid.Bool().Draw(t, "index") {
			return Step{IsIndex: true, Index: rapid.IntRange(-3, 3).Draw(t, "at")}
		}
		return Step{Name: names.Draw(t, "name")}
	})
	rapid.Check(t, func(t *rapid.T) {
		doc := tree(3).Draw(t, "document")
		steps := rapid.SliceOfN(step, 0, 4).Draw(t, "path")
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		want, found := walk(doc, steps)
		got := NewPath(steps).Get(string(text))
		if !found {
			if got.Kind != Undefined {
				t.Fatalf("%s in %s: %s, want nothing", NewPath(steps).key(), text, got)
			}
			return
		}
		wantText, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if gotText := string(got.AppendJSON(nil)); got.Kind == Undefined || !sameJSON(gotText, string(wantText)) {
			t.Fatalf("%s in %s: %s, want %s", NewPath(steps).key(), text, gotText, wantText)
		}
	})
}

func walk(v any, steps []Step) (any, bool) {
	for _, s := range steps {
		if list, ok := v.([]any); ok && s.IsIndex {
			if s.Index < 0 {
				s.Index += len(list)
			}
			if s.Index < 0 || s.Index >= len(list) {
				return nil, false
			}
			v = list[s.Index]
			continue
		}
		object, ok := v.(map[string]any)
		if !ok || s.IsIndex {
			return nil, false
		}
		if v, ok = object[s.Name]; !ok {
			return nil, false
		}
	}
	return v, true
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}

func TestShownValues(t *testing.T) {
	for want, v := range map[string]Value{
		"undefined": {}, "null": NullValue(), "true": Truth(true), "0.1": NumberOf(0.1), "9007199254740991": NumberOf(1<<53 - 1), "1e+20": NumberOf(1e20),
		"infinity": NumberOf(math.Inf(1)), "-infinity": NumberOf(math.Inf(-1)), `"a\"b"`: TextOf(`a"b`), `"` + strings.Repeat("é", 59) + "…": TextOf(strings.Repeat("é", 100)),
	} {
		if got := v.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if v := NumberOf(math.NaN()); v.Kind != Undefined {
		t.Error("NaN is defined")
	}
}

func TestPosition(t *testing.T) {
	for offset, want := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {2, 2}, {2, 3}, {2, 3}} {
		if line, column := Position("é\nab", offset); line != want[0] || column != want[1] {
			t.Errorf("%d: %d:%d, want %v", offset, line, column, want)
		}
	}
}
