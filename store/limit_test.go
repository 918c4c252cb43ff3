package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
)

// accepts says how many messages of a kilobyte the queue takes before it refuses.
func accepts(t *testing.T, s *Store, name string) (n int) {
	t.Helper()
	for ; n < 100; n++ {
		if errs := tryAdd(s, item(strings.Repeat("x", 1000), to(name))); errs != nil {
			if !errors.Is(errs[0], ErrQuota) {
				t.Fatal(errs)
			}
			break
		}
	}
	return n
}

func TestLimitsFollowTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir, QueueMaxBytes: 3500})
	same(t, "by default", accepts(t, s, "q"), 3)
	queue(t, s, "own").SetLimit(2500, Reject)
	same(t, "its own", accepts(t, s, "own"), 2)
	again := func(cfg Config) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.Dir = dir
		s = openAt(t, cfg)
	}
	again(Config{QueueMaxBytes: 5500})
	same(t, "after it was raised", accepts(t, s, "q"), 2)
	same(t, "the queue with its own", accepts(t, s, "own"), 0)
	queue(t, s, "own").SetLimit(0, Reject)
	same(t, "without its own any more", accepts(t, s, "own"), 3)
	again(Config{QueueMaxBytes: 9000, Limit: func(name string) (int64, Policy) {
		if strings.HasPrefix(name, "session/") {
			return 4500, DropOldest
		}
		return 7500, Reject
	}})
	same(t, "asked for an old queue", accepts(t, s, "own"), 2)
	same(t, "asked for a new one", accepts(t, s, "new"), 7)
	same(t, "a session drops its oldest", accepts(t, s, "session/a"), 100)
	flush(t, queue(t, s, "session/a"))
	if a := accountOf(t, s, "session/a", "r"); a.Queued > 4 || a.Dropped["quota"] != 100-a.Queued {
		t.Fatalf("account: %+v", a)
	}
	balanced(t, s)
	again(Config{QueueMaxBytes: 9000, Policy: DropOldest})
	same(t, "the default policy", accepts(t, s, "q"), 100)
	balanced(t, s)
}

func TestDropOldestLeavesLeasedMessagesAlone(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), SettleDelay: time.Hour})
	q := queue(t, s, "q")
	body := strings.Repeat("x", 1000)
	var items []Item
	for i := range 8 { // one block
		items = append(items, item(fmt.Sprint(i, body), message.Target{Queue: "q", Rule: fmt.Sprint("r", i%2)}))
	}
	add(t, s, items...)
	add(t, s, item("8"+body, to("q")), item("9"+body, to("q")))
	lease(t, q, 3)
	q.Settle(3, message.Buried, "why") // waits for a commit
	q.SetLimit(9_500, DropOldest)      // what message 3 takes goes with 1 and 2
	add(t, s, item("new"+body, to("q")))
	flush(t, q)
	same(t, "of one rule", accountOf(t, s, "q", "r0").Dropped, map[string]uint64{"quota": 2})
	same(t, "of the other", accountOf(t, s, "q", "r1").Dropped, map[string]uint64{"quota": 3})
	same(t, "of the newer block", accountOf(t, s, "q", "r").Dropped, map[string]uint64(nil))
	balanced(t, s)
	ds := lease(t, q, 10)
	same(t, "left", []string{string(ds[0].Body[:1]), string(ds[1].Body[:1]), string(ds[2].Body[:3])}, []string{"8", "9", "new"})
	q.Settle(1, message.Delivered, "")
	q.Settle(2, message.Delivered, "")
	flush(t, q)
	same(t, "buried and delivered", []uint64{
		accountOf(t, s, "q", "r0").Buried, accountOf(t, s, "q", "r0").Delivered, accountOf(t, s, "q", "r1").Delivered,
	}, []uint64{1, 1, 1})
	balanced(t, s)
}

// A consumer that keeps many small blocks leased does not keep the queue from
// dropping behind them.
func TestDropOldestBehindManyLeases(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), SettleDelay: time.Hour})
	q := queue(t, s, "q")
	q.SetLimit(200_000, DropOldest)
	fill(t, s, "q", maxOpen+100, 10, 1)
	for range maxOpen + 100 {
		if len(lease(t, q, 1)) == 0 {
			break
		}
	}
	body := strings.Repeat("x", 1000)
	for range 300 {
		add(t, s, item(body, to("q")))
	}
	flush(t, q)
	if used := q.used.Load(); used > 250_000 {
		t.Fatalf("%d bytes, the limit is 200000", used)
	}
	balanced(t, s)
}

func TestSessionsBeyondTheirLimitDoNotStopOthers(t *testing.T) {
	s := openAt(t, Config{
		Dir: t.TempDir(), MaxBytes: 1 << 20,
		Limit: func(name string) (int64, Policy) {
			if strings.HasPrefix(name, "session/") {
				return 20_000, DropOldest
			}
			return 0, Reject
		},
	})
	var ts []message.Target
	for i := range 10 {
		ts = append(ts, to(fmt.Sprint("session/", i)))
	}
	ts = append(ts, to("live"))
	live := queue(t, s, "live")
	for range 300 { // 300 KB for each of the sessions
		add(t, s, item(strings.Repeat("x", 1000), ts...))
		ds := lease(t, live, 10)
		live.Settle(ds[0].Seq, message.Delivered, "")
		flush(t, live)
	}
	balanced(t, s)
}

// That newer blocks are gone already does not let older ones stay.
func TestDropOldestAfterLiveMessagesLeft(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	body := strings.Repeat("x", 1000)
	for i := range 3 {
		add(t, s, item(fmt.Sprint("old", i, body), to("q")))
	}
	q.Split()
	add(t, s, item("live", to("q")))
	if ds, err := q.LeaseLane(Live, nil, 1); err != nil || len(ds) != 1 {
		t.Fatalf("leased %d: %v", len(ds), err)
	}
	q.Settle(4, message.Delivered, "")
	flush(t, q)
	q.Split()
	q.SetLimit(2200, DropOldest)
	add(t, s, item("new"+body, to("q")))
	ds := lease(t, q, 9)
	same(t, "left", []uint64{ds[0].Seq, ds[len(ds)-1].Seq}, []uint64{3, 5})
	balanced(t, s)
}
