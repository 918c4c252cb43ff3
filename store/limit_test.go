package store

import (
	"errors"
	"strings"
	"testing"
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
