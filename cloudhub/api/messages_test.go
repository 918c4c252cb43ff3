package api

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/cloudhub/stream"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestSelection(t *testing.T) {
	a := &API{Stream: &stream.Stream{}}
	for query, want := range map[string]selection{
		"":                        {},
		"module=m&limit=3":        {module: "m", limit: 3},
		"subject=hub.%3E":         {Query: stream.Query{Filters: []string{"hub.>"}}},
		"follow=true":             {Query: stream.Query{Follow: true, New: true}},
		"follow=true&since=10m":   {Query: stream.Query{Follow: true, Since: now.Add(-10 * time.Minute)}},
		"since=2026-11-20T11:00Z": {limit: -1},
		"since=-5m":               {limit: -1},
		"limit=0":                 {limit: -1},
		"limit=many":              {limit: -1},
		"follow=perhaps":          {limit: -1},
		"device=a&subject=b":      {limit: -1},
		"devise=a":                {limit: -1},
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.parseSelection(v, now)
		if want.limit < 0 {
			if err == nil {
				t.Errorf("%s: no error", query)
			}
			continue
		}
		if err != nil || got.limit != want.limit || got.module != want.module || got.Follow != want.Follow || got.New != want.New ||
			!got.Since.Equal(want.Since) || len(got.Filters) != len(want.Filters) || len(got.Filters) == 1 && got.Filters[0] != want.Filters[0] {
			t.Errorf("%s: %+v %v", query, got, err)
		}
	}
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{"", `{"a": 1}`, "text", "\xff", `"\xff"`, "\u2028<>&"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := client.Message{Body: nil}
		m.Encoding, m.Body = body(b)
		line, err := json.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		var back client.Message
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatal(err)
		}
		got, err := back.Payload()
		if err != nil {
			t.Fatal(err)
		}
		if m.Encoding != client.EncodingJSON && string(got) != string(b) {
			t.Fatalf("%s: got %q, want %q", m.Encoding, got, b)
		}
		if m.Encoding == client.EncodingJSON && !json.Valid(got) {
			t.Fatalf("got %q of %q", got, b)
		}
	})
}
