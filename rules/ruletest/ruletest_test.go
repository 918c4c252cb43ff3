package ruletest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/rules"
)

func compile(t testing.TB) *rules.Set {
	t.Helper()
	text, err := os.ReadFile("testdata/machines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := rules.Compile(rules.Input{Files: []rules.File{{Name: "machines.yaml", Data: text}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPassing: testdata/machines.rules-test is an example for people to read.
func TestPassing(t *testing.T) {
	text, err := os.ReadFile("testdata/machines.rules-test")
	if err != nil {
		t.Fatal(err)
	}
	results, err := Run(compile(t), "machines.rules-test", text)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != strings.Count(string(text), "\ngiven ") {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		if !r.Passed || r.Failures != nil || r.Explanation != nil {
			shown, _ := json.MarshalIndent(r, "", " ")
			t.Errorf("%s", shown)
		}
	}
}

// TestFailing: every way in which an expectation can fail, and how that is said.
func TestFailing(t *testing.T) {
	const hot = "given module sensor output temperature\n  body {\"machine\":{\"id\":\"m1\",\"temperature\":30}}\n"
	for expect, want := range map[string]string{
		"expect nothing":                                    "the message goes into modules/filter/inputs/in by rule hot-machines",
		"expect not hot-machines":                           "the rule matched",
		"expect cold-machines":                              "the rule did not match",
		"expect wet-machines":                               "there is no rule wet-machines",
		"expect not wet-machines":                           "there is no rule wet-machines",
		"expect hot-machines into $upstream":                "the message does not go into $upstream",
		"expect everything into modules/filter/inputs/in":   "the rule hot-machines, of a lower priority number or earlier, puts the message into modules/filter/inputs/in",
		"expect everything ttl none":                        "other rules put the message into all queues of this one",
		"expect hot-machines priority 1":                    "the priority is 0",
		"expect hot-machines ttl 1h":                        "the time to live is 2h0m0s",
		"expect hot-machines ttl none":                      "the time to live is 2h0m0s",
		"expect hot-machines\n  body {\"machine\": \"m2\"}": `the body is {"machine":"m1","t":30}`,
	} {
		results, err := Run(compile(t), "f", []byte(hot+expect))
		if err != nil {
			t.Errorf("%s: %v", expect, err)
			continue
		}
		r := results[0]
		if r.Passed || len(r.Failures) != 1 || r.Failures[0].Text != want || r.Failures[0].Line != 3 || r.Explanation == nil {
			t.Errorf("%s: %+v\nwant %s", expect, r, want)
		}
	}
}

func TestFaults(t *testing.T) {
	const g = "given device d\n"
	for text, want := range map[string]string{
		"expekt x":                          `f:1:1: unknown word "expekt"; expected given, property, system, body or expect`,
		"expect x":                          "f:1:1: expected a line beginning with given before this one",
		"  body x":                          "f:1:3: expected a line beginning with given before this one",
		"given\nexpect nothing":             "f:1:6: expected topic, device, module or twin-change after given",
		"given topic\nexpect nothing":       "f:1:7: expected a name after topic",
		"given machine x\nexpect nothing":   `f:1:7: unknown word "machine"; expected topic, device, module, output or twin-change`,
		g:                                   "f:1:1: nothing is expected of this message; expected a line beginning with expect",
		g + "expect":                        "f:2:7: expected a rule's name, not or nothing after expect",
		g + "expect not":                    "f:2:11: expected a rule's name, not or nothing after expect",
		g + "expect nothing into $upstream": `f:2:16: unexpected "into"`,
		g + "expect a into":                 `f:2:10: unexpected "into"`,
		g + "expect a into up":              `f:2:15: "up" is no queue; expected $upstream, modules/{module}/inputs/{input} or topic/{name}`,
		g + "expect a priority 10":          `f:2:19: the priority "10" is out of range; expected 0 … 9`,
		g + "expect a ttl soon":             `f:2:14: "soon" is no duration; expected a duration such as 30s, 2h or 7d, or none`,
		g + "expect a from b":               `f:2:10: unknown word "from"; expected into, priority or ttl`,
		g + "expect nothing\n  body {}":     `f:3:3: a body below "expect nothing"; expected it below expect with a rule`,
		g + "expect a\n  body {":            "f:3:3: the expected body is not JSON",
		g + "expect a\n  property x = y":    "f:3:3: property after expect; expected it below given",
		g + "  property = y\nexpect a":      "f:2:3: expected a name after property",
		g + "  body \"\"\"\n{}\nexpect a":   "f:2:3: the body has no end; expected \"\"\" alone on a line",
		strings.Repeat("#", MaxFile+1):      "f: the file is larger than 1048576 bytes",
	} {
		_, err := Run(compile(t), "f", []byte(text))
		var faults rules.Faults
		if !errors.As(err, &faults) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestWords(t *testing.T) {
	got := fmt.Sprint(words(`a  "b c"	"d`, 5))
	if d := cmp.Diff(`[{a 5} {b c 8} {"d 14}]`, got); d != "" {
		t.Error(d)
	}
}

func FuzzRuleTest(f *testing.F) {
	text, err := os.ReadFile("testdata/machines.rules-test")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("given topic \"a b\" device d\n system contentType = x\n body \"\"\"\n{}\n\"\"\"\nexpect a into topic/x priority 1 ttl 1d\n body {}\n"))
	set := compile(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		results, err := Run(set, "f", text)
		if err != nil {
			if !errors.Is(err, rules.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, r := range results {
			if r.Passed != (len(r.Failures) == 0) || r.Line < 1 {
				t.Errorf("%+v", r)
			}
		}
	})
}
