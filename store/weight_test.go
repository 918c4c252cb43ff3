package store

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
)

// put hands over an operation and returns where its end is reported.
func put(s *Store, o *op) chan error {
	done := make(chan error, 1)
	o.done = func(err error) { done <- err }
	s.in.put(o)
	return done
}

// recordsOp writes n records and claims w for it.
func recordsOp(name string, n int, w weight) *op {
	return &op{eager: true, weight: w, apply: func(c *commit) error {
		for i := range n {
			c.put(recordKey("bucket", fmt.Sprint(name, i)), []byte{1})
		}
		return nil
	}}
}

func TestBuryingABurst(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), SettleDelay: time.Hour})
	q := queue(t, s, "q")
	body := strings.Repeat("x", 8000)
	const n = 256
	for range n {
		add(t, s, item(body, to("q")))
	}
	ds := lease(t, q, n)
	for len(ds) < n {
		more := lease(t, q, n-len(ds))
		ds = append(ds, more...)
	}
	for _, d := range ds {
		q.Settle(d.Seq, message.Buried, "all at once", message.Record{Bucket: "why", Key: fmt.Sprint(d.Seq), Value: []byte("x")})
	}
	add(t, s, item("merged into it", to("q")))
	flush(t, q)
	if dead, err := q.Dead(0, 2*n); err != nil || len(dead) != n {
		t.Fatalf("%d dead letters: %v", len(dead), err)
	}
	if _, err := s.Get("why", fmt.Sprint(n)); err != nil {
		t.Fatal(err)
	}
	same(t, "buried", accountOf(t, s, "q", "r").Buried, uint64(n))
	balanced(t, s)
}

// A quota that was lowered takes more deletions than one transaction holds.
func TestDeadLettersBeyondALoweredQuota(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	const n = 14_000
	q := queue(t, s, "q")
	fill(t, s, "q", n, 10, 1000)
	for left := n; left > 0; {
		ds := lease(t, q, 1000)
		for _, d := range ds {
			q.Settle(d.Seq, message.Buried, "test")
		}
		left -= len(ds)
	}
	flush(t, q)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Config{Dir: dir, DeadBytes: 1000, SweepEvery: time.Hour})
	q = queue(t, s, "q")
	count, _ := q.DeadCount()
	same(t, "dead letters", count, int64(n))
	add(t, s, item("one more", to("q")))
	q.Settle(lease(t, q, 1)[0].Seq, message.Buried, "test")
	flush(t, q)
	if count, _ = q.DeadCount(); count != n+1-trimRun {
		t.Fatalf("%d dead letters after one commit", count)
	}
	s.sweepAll()
	count, bytes := q.DeadCount()
	if bytes > 1000 || count == 0 {
		t.Fatalf("%d dead letters with %d bytes after the sweep", count, bytes)
	}
	if dead, err := q.Dead(0, 100); err != nil || int64(len(dead)) != count || string(dead[len(dead)-1].Body) != "one more" {
		t.Fatalf("%d dead letters on disk, %d counted, %v", len(dead), count, err)
	}
	balanced(t, s)
}

// Settling every other message of many large blocks writes more than a
// transaction holds; leases stop before that.
func TestLeasesStopBeforeSettlingThemIsTooMuch(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), SettleDelay: time.Hour})
	q := queue(t, s, "q")
	const n = 1_300_000
	fill(t, s, "q", n, 1, 4000)
	leased := 0
	for {
		ds := lease(t, q, 10_000)
		if len(ds) == 0 {
			break
		}
		leased += len(ds)
		for i, d := range ds {
			if i%2 == 0 {
				q.Settle(d.Seq, message.Delivered, "")
			}
		}
	}
	flush(t, q)
	if leased == n || leased < n/8 {
		t.Fatalf("leased %d of %d", leased, n)
	}
	balanced(t, s)
	if _, err := q.Purge(); err != nil {
		t.Fatal(err)
	}
	same(t, "queued", accountOf(t, s, "q", "r").Queued, uint64(0))
	balanced(t, s)
}

// An operation that wrote more than it claimed sends those after it to the next
// commit, in order.
func TestOperationsThatDoNotFitComeLater(t *testing.T) {
	s := open(t)
	gate := make(chan struct{})
	hold := put(s, &op{eager: true, apply: func(*commit) error { <-gate; return nil }})
	var ends []chan error
	for i := range 3 {
		ends = append(ends, put(s, recordsOp(fmt.Sprint("op", i, "-"), txnEntries*2/3, weight{})))
	}
	before := s.Stats().Commits
	close(gate)
	for _, end := range append(ends, hold) {
		if err := <-end; err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Commits - before; n < 3 {
		t.Fatalf("%d commits", n)
	}
}

// Weights that are wrong cost a few attempts, not the store.
func TestCommitsThatAreTooLargeAreSplit(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	q := queue(t, s, "q")
	gate := make(chan struct{})
	hold := put(s, &op{eager: true, apply: func(*commit) error { <-gate; return nil }})
	first := put(s, recordsOp("a", txnEntries*2/5, weight{}))
	second := put(s, recordsOp("b", txnEntries*9/10, weight{}))
	never := put(s, recordsOp("c", txnEntries*2, weight{}))
	done := make(chan []error, 1)
	s.Append(&Request{Items: []Item{item("after", to("q"))}, Done: func(_ *Request, errs []error) { done <- errs }})
	close(gate)
	for _, end := range []chan error{hold, first, second} {
		if err := <-end; err != nil {
			t.Fatal(err)
		}
	}
	if err := <-never; !errors.Is(err, ErrTooLarge) {
		t.Fatalf("an operation larger than a transaction: %v", err)
	}
	if errs := <-done; errs != nil {
		t.Fatalf("an append behind it: %v", errs)
	}
	same(t, "after", bodies(lease(t, q, 2)), []string{"after"})
	balanced(t, s)
}

func TestManyNewRuleNames(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	var items []Item
	for i := range 2400 {
		items = append(items, item("x", message.Target{Queue: fmt.Sprint("q", i%3), Rule: fmt.Sprint(i, strings.Repeat("r", 1000))}))
	}
	for len(items) > 0 {
		n := min(len(items), 1200)
		if errs := tryAdd(s, items[:n]...); errs != nil && !errors.Is(errs[0], ErrTooLarge) {
			t.Fatal(errs[0])
		}
		items = items[n:]
	}
	add(t, s, item("y", to("q0")))
	balanced(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	balanced(t, openAt(t, Config{Dir: dir}))
}

func TestRecordsThatCannotBeWrittenDoNotStopTheSettlement(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	q := queue(t, s, "q")
	add(t, s, item("a", to("q")), item("b", to("q")))
	lease(t, q, 2)
	var many []message.Record
	for i := range 100 {
		many = append(many, message.Record{Bucket: "b", Key: fmt.Sprint(i), Value: make([]byte, 31<<10)})
	}
	q.Settle(1, message.Buried, "why", many...)
	q.Settle(2, message.Delivered, "", message.Record{Bucket: "", Key: "x", Value: []byte{1}})
	flush(t, q)
	a := accountOf(t, s, "q", "r")
	same(t, "buried, delivered", []uint64{a.Buried, a.Delivered}, []uint64{1, 1})
	if n, _ := q.DeadCount(); n != 1 {
		t.Fatalf("%d dead letters", n)
	}
	balanced(t, s)
}
