package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// output writes results as people or programs want them.
type output struct {
	format   string // one of formats
	noColor  bool
	w        io.Writer // data
	progress io.Writer // everything else
}

var formats = []string{"human", "json", "yaml"}

func (o *output) check() error {
	if !slices.Contains(formats, o.format) {
		return usage("-o %s: want human, json or yaml", o.format)
	}
	return nil
}

// print writes v as JSON or YAML, or calls human for people.
func (o *output) print(v any, human func(w io.Writer)) error {
	switch o.format {
	case "json":
		e := json.NewEncoder(o.w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case "yaml":
		b, err := toYAML(v)
		if err != nil {
			return err
		}
		_, err = o.w.Write(b)
		return err
	}
	t := tabwriter.NewWriter(o.w, 0, 8, 2, ' ', 0)
	human(t)
	return t.Flush()
}

// stream writes one value of a sequence: a line of JSON, a YAML document, or the
// line that human makes.
func (o *output) stream(v any, human func() string) error {
	switch o.format {
	case "json":
		e := json.NewEncoder(o.w)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case "yaml":
		b, err := toYAML(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.w, "---\n%s", b)
		return err
	}
	_, err := fmt.Fprintln(o.w, human())
	return err
}

// toYAML uses the names of the JSON form, so that both formats agree.
func toYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(b)
}

// note says something that is not data.
func (o *output) note(format string, args ...any) {
	fmt.Fprintf(o.progress, format+"\n", args...)
}

// row writes tab-separated cells for a tabwriter.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, c)
	}
	fmt.Fprintln(w)
}

// printable is a body on one line. What could move a terminal's cursor, or is no
// text, is quoted.
func printable(b []byte) string {
	text := strings.TrimRight(string(b), "\n")
	if utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	return strconv.Quote(text)
}

// plural counts things: 1 rule, 2 rules.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}
