package rules

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

// TestExplain runs testdata/explain: rules, a message as JSON and the expected
// text, parted by lines of dashes.
func TestExplain(t *testing.T) {
	files, err := filepath.Glob("testdata/explain/*.txt")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.SplitN(string(text), "-----\n", 3)
		s := compileText(t, parts[0])
		m, err := ParseMessageJSON([]byte(parts[1]))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var got strings.Builder
		if err := s.Explain(&m).WriteText(&got); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, []byte(parts[0]+"-----\n"+parts[1]+"-----\n"+got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if d := cmp.Diff(parts[2], got.String()); d != "" {
			t.Errorf("%s\n%s", file, d)
		}
	}
}

func TestExplanationAsJSON(t *testing.T) {
	s := compileText(t, sample)
	m := message.Message{Module: "sensor", Output: "temperature", Body: []byte(`{"machine":{"temperature":20}}`)}
	got, err := json.Marshal(s.Explain(&m))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"from":"modules/sensor/outputs/temperature","rules":[{"rule":"hot-machines","file":"rules.yaml","line":2,"matched":false,` +
		`"from":["modules/sensor/outputs/temperature"],"into":["modules/filter/inputs/in"],"source":true,` +
		`"conditions":[{"text":"body.machine.temperature \u003e 25","result":"false","saw":[{"name":"body.machine.temperature","value":"20"}]}]}],"targets":[]}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}

func TestParseMessageJSON(t *testing.T) {
	for text, want := range map[string]message.Message{
		`{}`: {System: []message.Property{}, Properties: []message.Property{}},
		`{"device":"d","module":"m","output":"o","body":{"a": 1},"properties":{"b":null,"a":"1"},"system":{"contentType":"x"},"accepted":5,"expires":6}`: {
			Device: "d", Module: "m", Output: "o", Body: []byte(`{"a": 1}`), Accepted: 5, Expires: 6,
			System: []message.Property{{Name: "contentType", Value: "x"}}, Properties: []message.Property{{Name: "a", Value: "1"}, {Name: "b", Null: true}},
		},
		`{"topic":"a/b","body":"text"}`:     {Kind: message.Plain, Topic: "a/b", Body: []byte("text"), System: []message.Property{}, Properties: []message.Property{}},
		`{"twin_change":true,"device":"d"}`: {Kind: message.TwinChange, Device: "d", System: []message.Property{}, Properties: []message.Property{}},
	} {
		got, err := ParseMessageJSON([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s\n%s", text, d)
		}
	}
	for _, text := range []string{``, `[]`, `{"devise":"d"}`, `{} {}`, `{"topic":"a","twin_change":true}`, `{"properties":{"a":5}}`} {
		if _, err := ParseMessageJSON([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "read message: ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
