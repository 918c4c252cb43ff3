package where

import (
	"errors"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/eval"
)

var sample = message.Message{
	Kind: message.Telemetry, Device: "d1", Module: "sensor", Output: "temperature", Accepted: 1_700_000_000_000,
	System:     []message.Property{{Name: "contentType", Value: "application/json"}, {Name: "messageId", Value: "m-1"}},
	Properties: []message.Property{{Name: "level", Value: "critical"}, {Name: "count", Value: "12"}, {Name: "bare", Null: true}},
	Body:       []byte(`{"machine":{"id":"m1","temperature":30.50,"on":true,"off":false,"none":null},"tags":["a","b",3],"big":12345678901234567890,"we ird":{"":1},"0":{"x":9}}`),
}

func evaluate(t *testing.T, source string) eval.Value {
	t.Helper()
	var fields eval.Fields
	n, err := Expression(source, &fields)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	env := eval.NewEnv(&fields)
	env.Reset(&sample)
	return n.Eval(env)
}

func TestValues(t *testing.T) {
	for source, want := range map[string]string{
		// references
		`body.machine.id`: `"m1"`, `body["machine"]["id"]`: `"m1"`, `body?.machine?.id`: `"m1"`, `body.machine`: `{"id":"m1","temperature":30.50,"on":true,"off":false,"none":null}`,
		`body.tags[1]`: `"b"`, `body.tags[-1]`: `3`, `body.tags[-4]`: `undefined`, `body.tags[9]`: `undefined`, `body["we ird"][""]`: `1`,
		`body["0"].x`: `9`, `body[0]`: `undefined`, `body.tags.length`: `undefined`, `body.a.b.c`: `undefined`, `body.machine.none`: `null`,
		`body.big`: `12345678901234567890`, `device`: `"d1"`, `module`: `"sensor"`, `output`: `"temperature"`, `topic`: `undefined`,
		`properties.level`: `"critical"`, `properties["count"]`: `"12"`, `properties.Level`: `undefined`, `properties.bare`: `null`,
		`system.messageId`: `"m-1"`, `system.MESSAGEID`: `"m-1"`, `system.connectionDeviceId`: `"d1"`, `system.enqueuedTime`: `"2023-11-14T22:13:20Z"`, `system.cid`: `undefined`,
		// what is missing is nil
		`body.x == nil`: `true`, `body.machine.none == nil`: `true`, `body.x != nil`: `false`, `body.x == 5`: `false`, `body.x != 5`: `true`, `body.x == body.y`: `true`,
		`properties.alert != "false"`: `true`, `properties.alert == "false"`: `false`, `body.x > 5`: `undefined`, `!(body.x > 5)`: `undefined`,
		`body.x > 5 || true`: `true`, `body.x > 5 && false`: `false`, `body.x > 5 || false`: `undefined`, `false || body.x > 5`: `undefined`, `true && body.x`: `undefined`, `body.machine.off || false`: `false`, `body.machine.off || true`: `true`, `true && body.machine.off`: `false`,
		`body.x ?? 7`: `7`, `(body.machine.temperature ?? 7) + 1`: `31.5`, `body.x + 1`: `undefined`, `-body.x`: `undefined`, `body.machine.none ?? "n"`: `"n"`,
		// types never convert by themselves
		`body.machine.temperature == "30.5"`: `false`, `body.machine.temperature != "30.5"`: `true`, `body.machine.temperature < "a"`: `undefined`,
		`body.machine.id > 5`: `undefined`, `body.machine.on`: `true`, `not body.machine.off`: `true`, `body.machine.id && true`: `undefined`, `body.machine == body.machine`: `true`,
		// operators
		`1 + 2 * 3 - 4 / 2`: `5`, `7 % 4`: `3`, `-7 % 4`: `-3`, `2 ** 3 ^ 2`: `512`, `1 / 0`: `infinity`, `-1 / 0`: `-infinity`, `0 / 0`: `undefined`, `+3 - -3`: `6`,
		`"a" + "b"`: `"ab"`, `device + "/" + module`: `"d1/sensor"`, `"a" < "b"`: `true`, `"b" <= "a"`: `false`, `3 >= 3`: `true`, `3 > 3`: `false`, `0x1F`: `31`, `1_000`: `1000`,
		`body.machine.id contains "1"`: `true`, `body.machine.id startsWith "x"`: `false`, `body.machine.id endsWith "1"`: `true`, `body.x contains "1"`: `undefined`,
		`body.machine.id not contains "1"`: `false`, `body.machine.id matches "^m[0-9]$"`: `true`, `not (body.x matches "a")`: `undefined`,
		`body.machine.on ? "on" : "off"`: `"on"`, `body.machine.off ? "on" : "off"`: `"off"`, `body.x ? "on" : "off"`: `undefined`, `if body.machine.on { 1 } else { 2 }`: `1`,
		// membership
		`body.machine.id in ["m1", "m2"]`: `true`, `properties.level not in ["low"]`: `true`, `"a" in body.tags`: `true`, `3 in body.tags`: `true`, `"c" in body.tags`: `false`,
		`"on" in body.machine`: `true`, `"a" in body.machine.id`: `undefined`, `body.x in ["a"]`: `false`, `body.x in [nil]`: `true`, `body.x in body.tags`: `undefined`, `1 in []`: `false`,
		// functions
		`len("héllo")`: `5`, `len(body.tags)`: `3`, `len(body.machine)`: `5`, `len(body.machine.on)`: `undefined`, `len(body.x)`: `undefined`,
		`abs(-2)`: `2`, `ceil(1.2)`: `2`, `floor(-1.2)`: `-2`, `round(2.5)`: `3`, `min(3, 1, 2)`: `1`, `max(3, 1)`: `3`, `max(body.x, 1)`: `undefined`,
		`float(properties.count) + 1`: `13`, `float("x")`: `undefined`, `float(" 1e3 ")`: `1000`, `float("0x10")`: `undefined`, `float("inf")`: `undefined`, `float("1e999")`: `infinity`, `int("3.9")`: `3`, `int(-3.9)`: `-3`, `float(body.machine)`: `undefined`,
		`string(body.machine.temperature)`: `"30.50"`, `string(12)`: `"12"`, `string(true)`: `"true"`, `string("s")`: `"s"`, `lower("ÀB")`: `"àb"`, `upper("a")`: `"A"`, `trim(" a ")`: `"a"`, `trimPrefix("abc", "a")`: `"bc"`,
		`trimSuffix("abc", "c")`: `"ab"`, `hasPrefix("abc", "a")`: `true`, `hasSuffix("abc", "a")`: `false`, `indexOf("abcb", "b")`: `1`, `lastIndexOf("abcb", "b")`: `3`,
		`body.machine.id | upper()`: `"M1"`,
	} {
		if got := evaluate(t, source).String(); got != want {
			t.Errorf("%s = %s, want %s", source, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for source, want := range map[string]string{
		``:                                `1:1: the expression ends where a value was expected`,
		`body.x >`:                        `1:8: the expression ends where a value was expected`,
		`bdy.x > 5`:                       `1:5: unknown name bdy; expected one of body, properties, system, topic, device, module, output`,
		`topic > 5`:                       `1:7: > needs two numbers or two texts: have text and a number; write float(topic)`,
		`properties.count > 5`:            `1:18: > needs two numbers or two texts: have text and a number; write float(properties.count)`,
		`properties.count == 5`:           `1:18: properties.count and 5 are never equal: text against a number; write float(properties.count)`,
		`properties.count + 1`:            `1:18: + needs two numbers: have text and a number; write float(properties.count)`,
		`properties`:                      `1:1: expected one name after properties, such as properties.alert or properties["alert"]`,
		`properties.a.b`:                  `1:14: expected one name after properties, such as properties.alert or properties["alert"]`,
		`topic.x == "a"`:                  `1:7: topic is text and has no members`,
		`all(body.tags, # > 1)`:           `1:1: the function all is not allowed in rules; expected one of ` + functionNames,
		`body.a == (1..30000)`:            `1:13: the operator .. is not allowed in rules`,
		`let r = body.a; r > 1`:           `1:5: variables and sequences are not allowed in rules`,
		`body.a; body.b`:                  `1:6: variables and sequences are not allowed in rules`,
		`repeat("a", 1000000) == "a"`:     `1:1: the function repeat is not allowed in rules; expected one of ` + functionNames,
		`now() > 5`:                       `1:1: the function now is not allowed in rules; expected one of ` + functionNames,
		`foo(1) > 5`:                      `1:1: unknown function foo; expected one of ` + functionNames,
		`body.id matches topic`:           `1:9: matches needs a constant pattern on its right`,
		`body.id matches "("`:             "1:17: error parsing regexp: missing closing ): `(`",
		`body.id matches body.b`:          `1:9: matches needs a constant pattern on its right`,
		`body[topic] == 1`:                `1:6: topic is not constant; expected a name or a whole number`,
		`body.a[1:2] == 1`:                `1:7: slices are not allowed in rules`,
		`1 < body.a < 3`:                  `1:10: chained comparisons and ?: are not allowed in rules; write a < b && b < c, or a ?? b`,
		`(body.a ?: 1) == 1`:              `1:7: chained comparisons and ?: are not allowed in rules; write a < b && b < c, or a ?? b`,
		`not topic`:                       `1:1: not needs true or false, but topic is text`,
		`topic && true`:                   `1:7: && needs true or false on both sides, but topic is text`,
		`-topic == 1`:                     `1:1: - needs a number, but topic is text; write float(topic)`,
		`topic in [1]`:                    `1:11: topic is never 1: text against a number; write float(topic)`,
		`body.a in [topic]`:               `1:12: topic is not constant; expected texts or numbers in the list`,
		`body.a in topic`:                 `1:8: in needs a list or a field of the body on its right, but topic is text`,
		`body.a == [1]`:                   `1:11: a list may stand only to the right of in`,
		`{"a": 1} == body.a`:              `1:1: {a: 1} is not allowed in rules`,
		`abs("x") == 1`:                   `1:5: abs needs a number, but "x" is text`,
		`abs() == 1`:                      `1:1: abs takes 1 arguments, not 0`,
		`len(body.a, 2) == 1`:             `1:1: len takes 1 arguments, not 2`,
		"body.a > 1 &&\n  bdy.b > 2":      `2:7: unknown name bdy; expected one of body, properties, system, topic, device, module, output`,
		`topic`:                           `1:1: the condition is text; expected true or false, such as a comparison`,
		`3`:                               `1:1: the condition is a number; expected true or false, such as a comparison`,
		`body.name() == 1`:                `1:6: unknown function body.name; expected one of ` + functionNames,
		`"a".b == 1`:                      `1:1: "a" has no members; only body, properties and system have`,
		`b"x" == body.a`:                  `1:1: b"x" is not allowed in rules`,
		`topic ? 1 : 2`:                   `1:1: topic is text; expected true or false before ?`,
		`(1 ? 2 : 3) == 1`:                `1:2: 1 is a number; expected true or false before ?`,
		`lower(5) contains "a" && topik`:  `1:7: lower needs text, but 5 is a number (and 1 more)`,
		`5 contains "a"`:                  `1:3: contains needs two texts: have a number and text`,
		`5 matches "a"`:                   `1:3: matches needs text on its left, but 5 is a number`,
		`system.nope == "a"`:              `1:8: unknown system property nope; expected one of `,
		`system == "a"`:                   `1:1: expected one name after system, such as system.messageId`,
		string(make([]byte, maxSource+1)): `1:1: the expression is longer than 8192 bytes`,
	} {
		_, err := Condition(source, &eval.Fields{})
		var faults eval.Faults
		if !errors.As(err, &faults) {
			t.Errorf("%.60q: %v, want faults", source, err)
			continue
		}
		if got := err.Error(); len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("%.60q\n got %s\nwant %s", source, got, want)
		}
	}
}

// TestHostileConditions: what would take long or much is refused or small.
func TestHostileConditions(t *testing.T) {
	nested := "body.a"
	for range 60 {
		nested = "(" + nested + " < body.b < body.c)"
	}
	elvis := "body.a"
	for range 100 {
		elvis = "(" + elvis + " ?: body.b)"
	}
	for name, source := range map[string]string{
		"chained comparisons": nested, "nested ?:": elvis, "too many nodes": strings.Repeat("1+", 1500) + "1", "parentheses": strings.Repeat("(", 8000),
		"not": strings.Repeat("!", 8000) + "true", "members": "body" + strings.Repeat(".a", 2000),
	} {
		var faults eval.Faults
		if _, err := Condition(source, &eval.Fields{}); !errors.As(err, &faults) {
			t.Errorf("%s: %v", name, err)
		}
	}
	huge := message.Message{Body: []byte(`"` + strings.Repeat("x", 600_000) + `"`)}
	var fields eval.Fields
	n, err := Expression("body + body + body", &fields)
	if err != nil {
		t.Fatal(err)
	}
	env := eval.NewEnv(&fields)
	env.Reset(&huge)
	if v := n.Eval(env); v.Kind != eval.Undefined {
		t.Errorf("built %d bytes", len(v.Str))
	}
}

func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		`body.machine.temperature > 25 && properties.alert != "false"`, `(body.a ?? 1) ** 2 in [1, "x", nil] or not (topic matches "^a")`, `len(body.tags) > 2 ? lower(device) contains "x" : float(system.cid) <= -1.5e3`,
		`all(body.a, # > 1)`, `let x = 1; x`, `body?.a[-1]["b c"] | string() startsWith 'a'`, `if true {1} else {2} == 1`, `1 < 2 < 3`, `b"x" ?: {a: [1..3]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		var fields eval.Fields
		n, err := Condition(source, &fields)
		if err != nil {
			var faults eval.Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("%q: %v", source, err)
			}
			return
		}
		env := eval.NewEnv(&fields)
		env.Reset(&sample)
		if v := n.Eval(env); v.True() != (len(eval.Why(n, env)) == 0) {
			t.Errorf("%q is %s, to blame: %v", source, v, eval.Why(n, env))
		}
	})
}
