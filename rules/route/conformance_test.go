package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/eval"
)

// cases is the form of a case file. testdata/own-cases.json is this project's
// own; PENSTOCK_SHARED may name a folder with the cases of the reference.
type cases struct {
	About    struct{ Counts map[string]int }
	Fixtures map[string]fixture

	Conditions []conditionCase `json:"condition_cases"`
	Errors     []errorCase     `json:"condition_compile_errors"`
	Literals   []valueCase     `json:"literal_cases"`
	Arithmetic []valueCase     `json:"arithmetic_cases"`
	Paths      []pathCase      `json:"json_path_cases"`
	Routes     []routeCase     `json:"route_cases"`
	Sources    []sourceCase    `json:"source_match_cases"`
	Sinks      []sinkCase      `json:"sink_cases"`
}

type fixture struct {
	Application map[string]*string
	System      map[string]*string
	Body        *string
	BodyJSON    json.RawMessage `json:"body_json"`
}

type conditionCase struct {
	ID, Condition, Fixture, Expected string
	MessageSource                    string  `json:"message_source"`
	BodyOverride                     *string `json:"body_override"`
	BodyEncoding                     string  `json:"body_encoding_override"`
}

type errorCase struct {
	ID, Condition, Flags string
	MessageSource        string `json:"message_source"`
	FirstError           string `json:"first_error"`
	ErrorCount           int    `json:"error_count"`
	Range                *struct {
		StartLine   int `json:"start_line"`
		StartColumn int `json:"start_column"`
		EndLine     int `json:"end_line"`
		EndColumn   int `json:"end_column"`
	} `json:"first_error_range"`
}

type valueCase struct {
	ID, Expression string
	Value          any
}

type pathCase struct {
	ID, Kind, Path string
	Supported      bool
}

type routeCase struct {
	ID, Route, Source, Condition string
	ShouldParse                  bool  `json:"should_parse"`
	Compiles                     *bool `json:"condition_compiles"`
	Sink                         *struct{ Kind, Function, Address, Name string }
}

type sourceCase struct {
	ID      string
	Route   string `json:"route_source"`
	Message string `json:"message_source"`
	Matches bool
}

type sinkCase struct {
	ID, Kind                string
	Name, Function, Address *string
	Valid                   bool
	Endpoint                string `json:"endpoint_id_on_device_Device1"`
	Input                   string
}

// conditionOf compiles a condition alone, as a route would.
func conditionOf(text string, twin bool, fields *eval.Fields) (*eval.Node, error) {
	n, err := compile(text, fields, checker{twin: twin, features: features{body: true, twin: true}})
	if err != nil {
		return nil, err
	}
	return n.truth(), nil
}

// eachFile runs f with every case file there is, after checking that a file holds
// as many cases as it says.
func eachFile(t *testing.T, f func(t *testing.T, c *cases)) {
	files := []string{"testdata/own-cases.json"}
	if dir := os.Getenv("PENSTOCK_SHARED"); dir != "" {
		files = append(files, filepath.Join(dir, "conformance", "routing-cases.json"))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c cases
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for section, n := range map[string]int{
			"condition_cases": len(c.Conditions), "condition_compile_errors": len(c.Errors), "literal_cases": len(c.Literals),
			"arithmetic_cases": len(c.Arithmetic), "json_path_cases": len(c.Paths), "route_cases": len(c.Routes),
			"source_match_cases": len(c.Sources), "sink_cases": len(c.Sinks),
		} {
			if n == 0 || n != c.About.Counts[section] {
				t.Errorf("%s: %d %s, want %d", file, n, section, c.About.Counts[section])
			}
		}
		t.Run(filepath.Base(file), func(t *testing.T) { f(t, &c) })
	}
}

func (c conditionCase) message(f fixture) *message.Message {
	m := &message.Message{System: properties(f.System), Properties: properties(f.Application), Body: f.BodyJSON}
	if c.MessageSource == "twinChangeNotifications" {
		m.Kind = message.TwinChange
	}
	if f.Body != nil {
		m.Body = []byte(*f.Body)
	}
	if c.BodyOverride != nil {
		m.Body = []byte(*c.BodyOverride)
	}
	if c.BodyEncoding == "utf-16-le" {
		var wide []byte
		for _, u := range utf16.Encode([]rune(string(m.Body))) {
			wide = append(wide, byte(u), byte(u>>8))
		}
		m.Body = wide
	}
	return m
}

func properties(from map[string]*string) (ps []message.Property) {
	for name, value := range from {
		p := message.Property{Name: name, Null: value == nil}
		if value != nil {
			p.Value = *value
		}
		ps = append(ps, p)
	}
	return ps
}

func TestConditions(t *testing.T) {
	eachFile(t, func(t *testing.T, all *cases) {
		for _, c := range all.Conditions {
			f, ok := all.Fixtures[c.Fixture]
			if !ok {
				t.Fatalf("%s: no fixture %s", c.ID, c.Fixture)
			}
			if got := result(t, c, f); got != c.Expected {
				t.Errorf("%s: %s = %s, want %s", c.ID, c.Condition, got, c.Expected)
			}
		}
	})
}

func result(t *testing.T, c conditionCase, f fixture) string {
	t.Helper()
	var fields eval.Fields
	n, err := conditionOf(c.Condition, c.MessageSource == "twinChangeNotifications", &fields)
	if err != nil {
		t.Errorf("%s: %s: %v", c.ID, c.Condition, err)
		return ""
	}
	env := eval.NewEnv(&fields)
	env.Reset(c.message(f))
	switch v := n.Eval(env); {
	case v.True():
		return "true"
	case v.False():
		return "false"
	case v.Kind != eval.Undefined:
		t.Errorf("%s: %s is %s", c.ID, c.Condition, v)
	}
	return "undefined"
}

func TestConditionsThatMustNotCompile(t *testing.T) {
	eachFile(t, func(t *testing.T, all *cases) {
		for _, c := range all.Errors {
			f := features{
				body: strings.Contains(c.Flags, "body_query") || c.Flags == "all",
				twin: strings.Contains(c.Flags, "twin_change_includes") || c.Flags == "all",
			}
			_, err := compile(c.Condition, &eval.Fields{}, checker{twin: c.MessageSource == "twinChangeNotifications", features: f, cascade: true})
			var faults eval.Faults
			if !errors.As(err, &faults) {
				t.Errorf("%s: %s: got %v, want faults", c.ID, c.Condition, err)
				continue
			}
			checkFaults(t, c, faults)
		}
	})
}

func checkFaults(t *testing.T, c errorCase, faults eval.Faults) {
	t.Helper()
	if c.FirstError != "" && faults[0].Text != c.FirstError {
		t.Errorf("%s: %s: first fault %q, want %q", c.ID, c.Condition, faults[0].Text, c.FirstError)
	}
	if c.ErrorCount != 0 && len(faults) != c.ErrorCount {
		t.Errorf("%s: %s: %d faults %q, want %d", c.ID, c.Condition, len(faults), faults, c.ErrorCount)
	}
	if r := c.Range; r != nil {
		want := fmt.Sprint(r.StartLine, r.StartColumn, r.EndLine, r.EndColumn)
		if got := fmt.Sprint(faults[0].Line, faults[0].Column, faults[0].EndLine, faults[0].EndColumn); got != want {
			t.Errorf("%s: %s: fault at %s, want %s", c.ID, c.Condition, got, want)
		}
	}
}

func TestLiteralsAndArithmetic(t *testing.T) {
	eachFile(t, func(t *testing.T, all *cases) {
		for _, c := range append(all.Literals, all.Arithmetic...) {
			n, err := compile(c.Expression, &eval.Fields{}, checker{})
			if err != nil {
				t.Errorf("%s: %s: %v", c.ID, c.Expression, err)
				continue
			}
			if got := n.Eval(nil); !sameValue(got, c.Value) {
				t.Errorf("%s: %s = %v, want %v", c.ID, c.Expression, got, c.Value)
			}
		}
	})
}

func sameValue(got eval.Value, want any) bool {
	switch want := want.(type) {
	case float64:
		return got.Kind == eval.Number && math.Abs(got.Num-want) <= 1e-12*math.Abs(want)
	case string:
		switch want {
		case "NaN":
			return got.Kind == eval.Undefined
		case "Infinity":
			return got.Kind == eval.Number && math.IsInf(got.Num, 1)
		case "-Infinity":
			return got.Kind == eval.Number && math.IsInf(got.Num, -1)
		}
		return got.Kind == eval.Text && got.Str == want
	}
	return false
}

func TestPaths(t *testing.T) {
	eachFile(t, func(t *testing.T, all *cases) {
		for _, c := range all.Paths {
			parse := parsePath
			if c.Kind == "twin_change_path" {
				parse = parseTwinPath
			}
			if _, ok := parse(c.Path); ok != c.Supported {
				t.Errorf("%s: %s %q supported: %t, want %t", c.ID, c.Kind, c.Path, ok, c.Supported)
			}
		}
	})
}

func TestRoutes(t *testing.T) {
	eachFile(t, func(t *testing.T, all *cases) {
		for _, c := range all.Routes {
			r, err := Parse(c.Route)
			if (err == nil) != c.ShouldParse {
				t.Errorf("%s: %s: %v, should parse: %t", c.ID, c.Route, err, c.ShouldParse)
			}
			if err != nil {
				continue
			}
			if _, err := r.Compile(&eval.Fields{}); c.Compiles != nil && (err == nil) != *c.Compiles {
				t.Errorf("%s: %s: %v, should compile: %t", c.ID, c.Route, err, *c.Compiles)
			}
			checkParts(t, c, r)
		}
	})
}

func checkParts(t *testing.T, c routeCase, r *Route) {
	t.Helper()
	if c.Source != "" && !strings.EqualFold("/"+strings.Join(r.Source.Segments, "/"), "/"+strings.Trim(c.Source, "/")) {
		t.Errorf("%s: source %s, want %s", c.ID, r.Source.Text, c.Source)
	}
	if c.Condition != "" && r.Condition != c.Condition {
		t.Errorf("%s: condition %s, want %s", c.ID, r.Condition, c.Condition)
	}
	if c.Sink == nil {
		return
	}
	want := Sink{Upstream: true}
	if c.Sink.Kind == "function" {
		want, _ = Endpoint(c.Sink.Function, c.Sink.Address)
	}
	if r.Sink != want {
		t.Errorf("%s: sink %+v, want %+v", c.ID, r.Sink, want)
	}
}

func TestSources(t *testing.T) {
	eachFile(t, func(t *testing.T, all *cases) {
		for _, c := range all.Sources {
			s, err := ParseSource(c.Route)
			if err != "" {
				t.Errorf("%s: %s: %s", c.ID, c.Route, err)
			}
			if got := s.Matches(strings.Split(c.Message[1:], "/")...); got != c.Matches {
				t.Errorf("%s: %s matches %s: %t, want %t", c.ID, c.Route, c.Message, got, c.Matches)
			}
		}
	})
}

func TestSinks(t *testing.T) {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	eachFile(t, func(t *testing.T, all *cases) {
		for _, c := range all.Sinks {
			into := text(c.Name)
			if c.Kind == "function" {
				into = text(c.Function) + `("` + text(c.Address) + `")`
			}
			r, err := Parse("FROM /* INTO " + into)
			if (err == nil) != c.Valid {
				t.Errorf("%s: %s: %v, valid: %t", c.ID, into, err, c.Valid)
			}
			if err == nil && c.Endpoint != "" && "Device1/"+r.Sink.Module+"/"+r.Sink.Input != c.Endpoint {
				t.Errorf("%s: %s: %+v, want %s", c.ID, into, r.Sink, c.Endpoint)
			}
		}
	})
}

// TestSubstringNeverFails: every combination of places compiles and evaluates.
func TestSubstringNeverFails(t *testing.T) {
	for i := -10; i <= 10; i++ {
		for j := -10; j <= 10; j++ {
			for _, text := range []string{fmt.Sprintf("substring('hello', %d) = 'he'", i), fmt.Sprintf("substring('hello', %d, %d) = 'he'", i, j)} {
				n, err := conditionOf(text, false, &eval.Fields{})
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if got, want := n.Eval(nil).True(), i == 0 && j == 2 && strings.Count(text, ",") == 2; got != want {
					t.Errorf("%s: %t, want %t", text, got, want)
				}
			}
		}
	}
}
