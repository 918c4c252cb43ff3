package route

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/eval"
)

// TestFaults: where a route is wrong, and how that is said.
func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                                                          "1:1: Syntax error: expected FROM",
		"FORM /* INTO $upstream":                                    "1:1: Syntax error: expected FROM",
		"FROM":                                                      "1:5: Syntax error: expected a source after FROM, such as /messages/*",
		"FROM messages INTO $upstream":                              "1:6: Syntax error: expected a source after FROM, such as /messages/*",
		"FROM //x INTO $upstream":                                   "1:6: Syntax error: the source has an empty segment",
		"FROM /a;b INTO $upstream":                                  "1:6: Syntax error: the source has a character that is not allowed: ;",
		"FROM /*":                                                   "1:8: Syntax error: expected INTO",
		"FROM /* INTO":                                              `1:13: Syntax error: expected $upstream or BrokeredEndpoint("/modules/{module}/inputs/{input}")`,
		"FROM /* INTO $downstream":                                  `1:14: unknown sink $downstream; expected $upstream or BrokeredEndpoint("/modules/{module}/inputs/{input}")`,
		"FROM /* INTO $upstream now":                                "1:24: Syntax error.",
		"FROM /* INTO Endpoint('/m/a/i/b')":                         `1:23: unknown sink Endpoint; expected $upstream or BrokeredEndpoint("/modules/{module}/inputs/{input}")`,
		"FROM /* INTO BrokeredEndpoint('/a')":                       "1:31: the address of a module's input is /modules/{module}/inputs/{input}",
		"FROM /* INTO BrokeredEndpoint(a)":                          "1:31: Syntax error: expected an address in quotes",
		"FROM /* WHERE INTO $upstream":                              "1:15: Syntax error: expected a condition after WHERE",
		"FROM /* WHERE a = 1 INTO $upstream":                        "1:17: Invalid operands to binary operator '=': have 'string' and 'number', expected 'string' and 'string'",
		"FROM /*\nWHERE a == 'x' INTO $upstream":                    "2:10: Syntax error.",
		"FROM /* WHERE (a = 'x' INTO $upstream":                     "1:24: Syntax error.",
		"FROM /* WHERE 'ü' = ü INTO @":                              "1:28: Syntax error: expected $upstream or BrokeredEndpoint(\"/modules/{module}/inputs/{input}\")",
		"FROM /* WHERE 'a\\q' = b INTO $upstream":                   "1:17: Syntax error.",
		"FROM /* WHERE f(a,) INTO $upstream":                        "1:19: Syntax error: unmatched closing ')'",
		"FROM /* WHERE is_null(a b) INTO $upstream":                 "1:25: Syntax error.",
		"FROM /* WHERE 5x = 5 INTO $upstream":                       "1:15: Syntax error.",
		"FROM /* WHERE 0x = 5 INTO $upstream":                       "1:15: Syntax error.",
		"FROM /* WHERE {a} = 'b' INTO $upstream":                    "1:16: Syntax error.",
		"FROM /* WHERE {$a = 'b' INTO $upstream":                    "1:19: Syntax error.",
		"FROM /* WHERE $ = 'b' INTO $upstream":                      "1:15: Syntax error: invalid symbol '$'",
		"FROM /* WHERE twin_change_includes(tags.a) INTO $upstream": "1:15: 'twin_change_includes' is only supported for routes from /twinChangeNotifications",
		"FROM /twinChangeNotifications WHERE twin_change_includes(a.b) INTO $upstream": "1:58: Twin path 'a.b' is not supported: expected a path below properties.reported, properties.desired or tags",
		"FROM /* WHERE $body.a[x] = 1 INTO $upstream":                                  "1:15: Body query '$body.a[x]' is not supported: expected names joined by '.', each with an optional [index]",
		"FROM /* WHERE -a = 1 INTO $upstream":                                          "1:15: Invalid operand to unary operator '-': have 'string', expected 'number'",
		"FROM /* WHERE NOT 3 INTO $upstream":                                           "1:15: Invalid operand to unary operator 'not': have 'number', expected 'bool'",
		"FROM /* WHERE true < false INTO $upstream":                                    "1:20: Invalid operands to binary operator '<': have 'bool' and 'bool', expected 'number' and 'number'",
		"FROM /* WHERE /* INTO $upstream":                                              "1:15: Syntax error.",
	} {
		r, err := Parse(text)
		if err == nil {
			_, err = r.Compile(&eval.Fields{})
		}
		var faults eval.Faults
		if !errors.As(err, &faults) || faults.Error() != want {
			t.Errorf("%q\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestDeepNestingIsRefused(t *testing.T) {
	for _, open := range []string{"(", "NOT ", "- ", "abs("} {
		text := ""
		for range maxDepth + 10 {
			text += open
		}
		_, err := conditionOf(text+"1", false, &eval.Fields{})
		var faults eval.Faults
		if !errors.As(err, &faults) || faults[0].Text != "Syntax error: nested too deeply" {
			t.Errorf("%q…: %v", open, err)
		}
	}
}

// TestBodies: which bodies a condition may look into (contract 5.5).
func TestBodies(t *testing.T) {
	utf16 := []byte("\xff\xfe{\x00\"\x00a\x00\"\x00:\x001\x00}\x00")
	utf32 := []byte("[\x00\x00\x00]\x00\x00\x00")
	for _, c := range []struct {
		contentType, encoding, body, condition, want string
		kind                                         message.Kind
	}{
		{"application/json", "utf-8", `{"a":1}`, "$body.a = 1", "true", 0},
		{"APPLICATION/JSON", "UTF-8", `{"a":1}`, "$body.a = 1", "true", 0},
		{"application/json", "utf-16", string(utf16), "$body.a = 1", "true", 0},
		{"application/json", "utf-32", string(utf32), "$body.a = null", "true", 0},
		{"application/json", "utf-16", `{"a":1}`, "$body.a = 1", "undefined", 0},
		{"application/json; charset=utf-8", "utf-8", `{"a":1}`, "$body.a = 1", "undefined", 0},
		{"application/json", "", `{"a":1}`, "$body.a = 1", "undefined", 0},
		{"", "", `{"a":1}`, "$body.a = 1", "undefined", 0},
		{"", "", `{"a":1}`, "$body.a = 1", "true", message.TwinChange},
		{"application/json", "utf-8", `{"a":1`, "$body.a = 1", "undefined", 0},
		{"application/json", "utf-8", "{\"a\":\"\xff\"}", "$body.a <> 1", "undefined", 0},
		{"application/json", "utf-8", `{"a":"2026-11-01T00:00:00Z"}`, "$body.a <> 1", "undefined", 0},
		{"application/json", "utf-8", `{"a":"2026-11-01T25:00:00Z"}`, "$body.a <> 1", "true", 0},
		{"application/json", "utf-8", `{"a":"/Date(1700000000000)/"}`, "$body.a <> 1", "undefined", 0},
		{"application/json", "utf-8", `{"a":{"0":1}}`, "$body.a[0] = 1", "false", 0},
		{"application/json", "utf-8", `[1]`, "$body.a = null", "true", 0},
	} {
		m := message.Message{Kind: c.kind, Body: []byte(c.body), System: []message.Property{{Name: "contentType", Value: c.contentType}, {Name: "contentEncoding", Value: c.encoding}}}
		if c.contentType == "" {
			m.System = nil
		}
		var fields eval.Fields
		n, err := conditionOf(c.condition, false, &fields)
		if err != nil {
			t.Fatal(err)
		}
		env := eval.NewEnv(&fields)
		env.Reset(&m)
		if got := n.Eval(env).String(); got != c.want {
			t.Errorf("%q %q %q: %s = %s, want %s", c.contentType, c.encoding, c.body, c.condition, got, c.want)
		}
	}
}

func TestPartsOfARoute(t *testing.T) {
	r, err := Parse("select * from /messages/modules/a*  where /* why */ a != 'INTO' into brokeredEndpoint('modules/m/inputs/i')")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"messages", "modules", "a"}, r.Source.Segments); d != "" {
		t.Error(d)
	}
	if r.Condition != "a != 'INTO'" || r.Sink != (Sink{Module: "m", Input: "i"}) {
		t.Errorf("%q %+v", r.Condition, r.Sink)
	}
}

func FuzzRoute(f *testing.F) {
	for _, seed := range []string{
		"FROM /messages/modules/m/* WHERE $body.a[0].b > 5 AND NOT is_null(x) INTO BrokeredEndpoint('/modules/m/inputs/i')",
		"SELECT * FROM /* WHERE as_number(t) ?? 5 < 0x1F OR {$cid} || 'é' <> \"\\u00e9\" INTO $upstream", "FROM /twinChangeNotifications WHERE twin_change_includes(tags.a) INTO $upstream",
		"FROM / WHERE substring(upper(a), 1 % 0, 1e9) = lower(b) /* c */ INTO $upstream", "FROM / WHERE ((((", "FROM / WHERE '\\ud800\\udc00' = a INTO x(",
	} {
		f.Add(seed, `{"a":[{"b":6}],"t":"2026-11-01T00:00:00Z"}`)
	}
	f.Fuzz(func(t *testing.T, text, body string) {
		r, err := Parse(text)
		if err != nil {
			checkPlaces(t, text, err)
			return
		}
		var fields eval.Fields
		n, err := r.Compile(&fields)
		if err != nil {
			checkPlaces(t, text, err)
			return
		}
		env := eval.NewEnv(&fields)
		env.Reset(&message.Message{Body: []byte(body), System: []message.Property{{Name: "contentType", Value: "application/json"}, {Name: "contentEncoding", Value: "utf-8"}}})
		if v := n.Eval(env); !v.True() && n.Op == eval.And && len(eval.Why(n, env)) == 0 {
			t.Errorf("%s is %s without a reason", text, v)
		}
	})
}

// checkPlaces: every fault stands within the text, or right behind it.
func checkPlaces(t *testing.T, text string, err error) {
	t.Helper()
	var faults eval.Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("%q: %v", text, err)
	}
	endLine, _ := eval.Position(text, len([]rune(text)))
	for _, f := range faults {
		if f.Line < 1 || f.Column < 1 || f.Line > endLine || f.EndLine < f.Line {
			t.Errorf("%q: %+v", text, f)
		}
	}
}
