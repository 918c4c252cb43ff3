package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
)

// output writes results as people or programs want them.
type output struct {
	format   string // human, json, yaml
	noColor  bool
	w        io.Writer // data
	progress io.Writer // everything else
}

func (o *output) check() error {
	switch o.format {
	case "human", "json", "yaml":
		return nil
	}
	return usage("-o %s: want human, json or yaml", o.format)
}

// print writes v as JSON or YAML, or calls human for people.
func (o *output) print(v any, human func(w io.Writer)) error {
	switch o.format {
	case "json":
		e := json.NewEncoder(o.w)
		e.SetIndent("", "  ")
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

// stream writes one value of a sequence: a line of JSON, a YAML document, or what human says.
func (o *output) stream(v any, human func(w io.Writer)) error {
	switch o.format {
	case "json":
		return json.NewEncoder(o.w).Encode(v)
	case "yaml":
		b, err := toYAML(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.w, "---\n%s", b)
		return err
	}
	human(o.w)
	return nil
}

// toYAML uses the names of the JSON form, so that both formats agree.
func toYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(b)
}

func (o *output) note(format string, args ...any) {
	fmt.Fprintf(o.progress, strings.TrimSuffix(format, "\n")+"\n", args...)
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
