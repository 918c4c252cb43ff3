package replay

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func all(t *testing.T, text string) []string {
	t.Helper()
	rows, err := Open(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		body, n, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if n != len(got)+1 {
			t.Fatalf("row %d is called %d", len(got)+1, n)
		}
		got = append(got, string(body))
	}
}

func TestRows(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"commas":     {"timestamp,value\n2013-12-02 21:15:00,73.967\n,1e3\n", []string{`{"timestamp":"2013-12-02 21:15:00","value":73.967}`, `{"timestamp":null,"value":1e3}`}},
		"semicolons": {"datetime;Volume Flow\n2020;32.0\n", []string{`{"datetime":2020,"Volume Flow":32.0}`}},
		"blanks":     {"1 2 -0.0007  \n\n2 3 .5\n", []string{`{"c1":1,"c2":2,"c3":-0.0007}`, `{"c1":2,"c2":3,"c3":0.5}`}},
		"words":      {"a,b\nNaN,inf\n", []string{`{"a":"NaN","b":"inf"}`}},
		"empty":      {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, all(t, c.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRowsRefuse(t *testing.T) {
	if _, err := Open(strings.NewReader("a,a\n1,2\n")); err == nil {
		t.Error("two columns of one name were taken")
	}
	rows, err := Open(strings.NewReader("1 2\n3\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := rows.Next(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := rows.Next(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a short row gave %v", err)
	}
}

func TestRowsAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"a quote that is never closed": "a,b\n1,2\n\"" + strings.Repeat("x,\n", 2*maxLine/3),
		"a line of blanks":             "1 2\n" + strings.Repeat("x ", maxLine),
	} {
		rows, err := Open(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := rows.Next(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := rows.Next(); err == nil || !strings.HasPrefix(err.Error(), "row 2: ") {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func FuzzRows(f *testing.F) {
	f.Add("a,b\n1,x\n")
	f.Add("1 2 3\n")
	f.Add("\xff;b\n1;2")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := Open(strings.NewReader(text))
		if err != nil {
			return
		}
		for range 1000 {
			body, _, err := rows.Next()
			if err != nil {
				return
			}
			if !json.Valid(body) {
				t.Fatalf("not JSON: %s", body)
			}
		}
	})
}
