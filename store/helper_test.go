package store

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

// testLog shows warnings in the test's output.
type testLog struct{ t testing.TB }

func (w testLog) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func openAt(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.ReserveBytes == 0 {
		cfg.ReserveBytes = 1 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func open(t testing.TB) *Store { return openAt(t, Config{Dir: t.TempDir()}) }

func encoded(body string) []byte {
	return message.Append(nil, &message.Message{Kind: message.Plain, Topic: "t", Body: []byte(body)})
}

func item(body string, targets ...message.Target) Item {
	return Item{Data: encoded(body), Accepted: time.Now().UnixMilli(), Targets: targets}
}

func to(queue string) message.Target { return message.Target{Queue: queue, Rule: "r"} }

// add appends and waits; it fails the test unless every item is accepted.
func add(t testing.TB, s *Store, items ...Item) {
	t.Helper()
	for _, err := range tryAdd(s, items...) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func tryAdd(s *Store, items ...Item) []error {
	done := make(chan []error, 1)
	s.Append(&Request{Items: items, Done: func(_ *Request, errs []error) { done <- errs }})
	return <-done
}

func queue(t testing.TB, s *Store, name string) *Queue {
	t.Helper()
	q, err := s.Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func lease(t testing.TB, q *Queue, max int) []message.Delivery {
	t.Helper()
	ds, err := q.Lease(nil, max)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

func bodies(ds []message.Delivery) (out []string) {
	for _, d := range ds {
		out = append(out, string(d.Body))
	}
	return out
}

func flush(t testing.TB, q *Queue) {
	t.Helper()
	done := make(chan error, 1)
	q.Flush(func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok or a generous deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// balanced fails the test unless memory and disk both add up.
func balanced(t testing.TB, s *Store) {
	t.Helper()
	for _, a := range s.Ledger() {
		if !a.Balanced() {
			t.Fatalf("account does not add up: %+v", a)
		}
	}
	if _, err := s.Audit(); err != nil {
		t.Fatal(err)
	}
}

func accountOf(t testing.TB, s *Store, queue, rule string) Account {
	t.Helper()
	for _, a := range s.Ledger() {
		if a.Queue == queue && a.Rule == rule {
			return a
		}
	}
	return Account{}
}
