package rules

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

var update = flag.Bool("update", false, "write the expectations of testdata anew")

// TestFaults runs testdata/faults: each file is a rule file, and behind a line
// of dashes the faults that it must have.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rules, want, _ := strings.Cut(string(text), "-----\n")
		_, err = Compile(Input{Files: []File{{Name: "rules.yaml", Data: []byte(rules)}}})
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got := err.Error() + "\n"
		if *update {
			if err := os.WriteFile(file, []byte(rules+"-----\n"+got), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s\n%s", file, d)
		}
	}
}

// TestFaultsStandWhereTheFileSaysThem: the same mistake in every style of YAML text.
func TestFaultsStandWhereTheFileSaysThem(t *testing.T) {
	const head = "rules:\n  - name: a\n    from: \"*\"\n    into: $upstream\n"
	for where, want := range map[string]string{
		"    where: body.a > 1 && oops > 2\n":                                           "5:26",
		"    where: 'body.a == ''x'' && oops > 2'\n":                                    "5:32",
		"    where: \"body.a == \\\"x\\\" && oops > 2\"\n":                              "5:32",
		"    where: \"body.a == \\\"\\u00e9\\\" && oops > 2\"\n":                        "5:37",
		"    where: |\n      body.a > 1 &&\n      oops > 2\n":                           "7:7",
		"    where: |\n\n      body.a > 1 &&\n        oops > 2\n":                       "8:9",
		"    where: >\n      body.a > 1 &&\n      oops > 2\n":                           "7:7",
		"    where: >-\n      body.a > 1\n      && oops > 2\n":                          "7:10",
		"    where: body.a > 1 &&\n      oops > 2\n":                                    "6:7",
		"    where: body.a > 1 &&\n\n      oops > 2\n":                                  "7:7",
		"    where: \"body.a > 1 &&\n      oops > 2\"\n":                                "6:7",
		"    where: 'é == body.a'\n":                                                    "5:13",
		"    select: {a: body.a, b: oops}\n":                                            "5:28",
		"    priority: 1\n  - name: b\n    route: FROM /* WHERE a = 1 INTO $upstream\n": "7:28",
	} {
		_, err := Compile(Input{Files: []File{{Name: "f", Data: []byte(head + where)}}})
		var faults Faults
		if !errors.As(err, &faults) || len(faults) != 1 {
			t.Errorf("%s: %v", where, err)
			continue
		}
		if got := fmt.Sprintf("%d:%d", faults[0].Line, faults[0].Column); got != want {
			t.Errorf("%sat %s, want %s: %s", where, got, want, faults[0].Text)
		}
	}
}

func TestNamesDifferOverFilesAndDeployments(t *testing.T) {
	rule := []byte("rules:\n  - {name: a, from: \"*\", into: $upstream}\n")
	_, err := Compile(Input{
		Files:   []File{{Name: "1.yaml", Data: rule}, {Name: "2.yaml", Data: rule}},
		EdgeHub: &EdgeHub{Routes: []EdgeRoute{{Name: "a", Text: "FROM /* INTO $upstream"}}},
	})
	want := `2.yaml:2:12: the name "a" is taken by the rule at 1.yaml:2:12; expected names that differ over all files
$edgeHub routes.a:1:1: the name "a" is taken by the rule at 1.yaml:2:12; expected names that differ over all files`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestOneBadOfAThousand: every fault of a large file is found and nothing else.
func TestOneBadOfAThousand(t *testing.T) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range 1000 {
		field := "body.temperature"
		if i == 617 {
			field = "temperature"
		}
		fmt.Fprintf(&text, "  - {name: r%d, from: devices/*, where: %s > %d, into: $upstream}\n", i, field, i)
	}
	s, err := Compile(Input{Files: []File{{Name: "big.yaml", Data: []byte(text.String())}}})
	want := "big.yaml:619:42: unknown name temperature; expected one of body, properties, system, topic, device, module, output"
	if s != nil || err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestReadDir(t *testing.T) {
	fsys := fstest.MapFS{
		"rules.d/20-b.yaml": {Data: []byte("rules:\n")}, "rules.d/10-a.yml": {Data: []byte("rules: []\n")},
		"rules.d/notes.txt": {Data: []byte("-")}, "rules.d/x.yaml/y": {Data: []byte("-")}, "rules.d/a.rules-test": {Data: []byte("-")},
	}
	files, err := ReadDir(fsys, "rules.d")
	if err != nil || len(files) != 2 || files[0].Name != "rules.d/10-a.yml" || files[1].Name != "rules.d/20-b.yaml" {
		t.Fatalf("%v %v", files, err)
	}
	s, err := Compile(Input{Files: files})
	if err != nil || s.Len() != 0 || len(s.Match(&message.Message{Device: "d"}, nil)) != 0 {
		t.Errorf("%v", err)
	}
	if _, err := ReadDir(fsys, "elsewhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	fsys["big/a.yaml"] = &fstest.MapFile{Data: make([]byte, MaxFile+1)}
	if _, err := ReadDir(fsys, "big"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a large file: %v", err)
	}
}

func TestHostileYAML(t *testing.T) {
	for name, text := range map[string]string{
		"brackets": strings.Repeat("[", 100_000), "maps": strings.Repeat("{a: ", 100_000), "dashes": strings.Repeat("- ", 100_000),
		"lines of brackets": strings.Repeat("[\n", 50_000), "keys": strings.Repeat("? ", 50_000), "anchors": "a: &a [x]\nrules: *a\n",
		"indentation": func() string {
			var b strings.Builder
			for i := range 500 {
				fmt.Fprintf(&b, "%s- a:\n", strings.Repeat(" ", 2*i))
			}
			return b.String()
		}(),
		"documents": "rules:\n---\nrules:\n  - {}\n", "nul": "rules:\x00", "not text": "\xff\xfe\x00", "tag": "rules: !!set {a}\n", "merge": "rules:\n  - <<: {name: a}\n",
	} {
		if _, err := Compile(Input{Files: []File{{Name: name, Data: []byte(text)}}}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRules(f *testing.F) {
	f.Add([]byte(sample), []byte(`{"machine":{"temperature":30}}`))
	f.Add([]byte("rules:\n  - name: b\n    topic: a/+/#\n    into: [{topic: x}, $upstream]\n    ttl: 1d\n    where: |\n      body.a in [1, 'x'] ||\n      properties.b matches 'a.*'\n"), []byte(`[1,2]`))
	f.Add([]byte("rules:\n  - {name: c, route: \"FROM /* WHERE $body.a > 5 INTO $upstream\", priority: 9}\n"), []byte(`{"a":6}`))
	f.Add([]byte("rules:\n  - {name: d, from: {module: m}, where: \"body.a[-1]?.b ?? 1 ** 2 > len(body)\", select: {\"é\": 'body[\"x y\"]'}, into: $upstream}\n"), []byte(`"x"`))
	f.Fuzz(func(t *testing.T, text, body []byte) {
		s, err := Compile(Input{Files: []File{{Name: "f", Data: text}}})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, m := range []message.Message{{Device: "d", Body: body}, {Module: "m", Output: "o", Body: body}, {Kind: message.Plain, Topic: "a/b", Body: body}, {Kind: message.TwinChange, Body: body}} {
			targets := s.Match(&m, nil)
			if e := s.Explain(&m); len(e.Targets) != len(targets) {
				t.Errorf("%d targets, %d explained", len(targets), len(e.Targets))
			}
		}
	})
}
