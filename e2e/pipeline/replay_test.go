package pipeline

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/internal/replay"
)

const seriesRules = `
rules:
  - {name: hot, from: devices/*, where: body.value > 90, into: $upstream}
  - name: cold
    from: devices/*
    where: body.value <= 50
    select: {celsius: body.value, at: body.timestamp}
    into: $upstream
`

// reading is a row of the series; cold ones were cut down to two other names.
type reading struct {
	Cold  bool
	At    string
	Value float64
}

// TestRecordedSeries replays a series through the rules and holds what arrived
// against the same conditions counted straight from the file.
func TestRecordedSeries(t *testing.T) {
	t.Parallel()
	file := "testdata/oven.csv"
	if dir := os.Getenv("PENSTOCK_SHARED"); dir != "" {
		file = filepath.Join(dir, "data", "nab", "machine_temperature_system_failure.csv")
	}
	rows, want := selected(t, file)
	s := newSite(t, options{rules: seriesRules})
	replayed := s.replay(file)
	if replayed != rows {
		t.Errorf("%d rows replayed of %d", replayed, rows)
	}
	s.drained()
	var got []reading
	for _, m := range s.received() {
		var body struct {
			Timestamp, At  string
			Value, Celsius *float64
		}
		if err := json.Unmarshal(m.Body, &body); err != nil {
			t.Fatal(err)
		}
		value := cmp.Or(body.Value, body.Celsius)
		if value == nil {
			t.Fatalf("message without a value: %s", m.Body)
		}
		got = append(got, reading{Cold: body.Celsius != nil, At: cmp.Or(body.Timestamp, body.At), Value: *value})
	}
	if d := diff.Diff(want, got); d != "" {
		t.Errorf("%d readings in the cloud, %d counted from the file:\n%.2000s", len(got), len(want), d)
	}
	l := s.ledger()
	if l.Received != uint64(rows) || l.NoRoute != uint64(rows-len(want)) {
		t.Errorf("the ledger knows %d messages, %d without a rule; want %d and %d", l.Received, l.NoRoute, rows, rows-len(want))
	}
	t.Logf("%d rows, %d readings in the cloud", rows, len(got))
}

// selected reads the file with the standard library alone.
func selected(t *testing.T, file string) (rows int, want []reading) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range all[1:] {
		v, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if v > 90 || v <= 50 {
			want = append(want, reading{Cold: v <= 50, At: row[0], Value: v})
		}
	}
	if len(want) == 0 || len(want) == len(all)-1 {
		t.Fatalf("the conditions select %d of %d rows: nothing is tested", len(want), len(all)-1)
	}
	return len(all) - 1, want
}

// replay publishes each row, as edgectl replay does.
func (s *site) replay(file string) (n int) {
	s.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	rows, err := replay.Open(f)
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.leaf(leafDevice, "")
	window := make(chan *leaf.Sent, 512)
	wait := func() {
		if err := (<-window).Wait(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	for {
		body, number, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if len(window) == cap(window) {
			wait()
		}
		window <- c.Publish(telemetry(fmt.Sprint("row-", number), string(body)))
		n = number
	}
	for len(window) > 0 {
		wait()
	}
	return n
}
