package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/message"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_TEST_CRASH_DIR"); dir != "" {
		crashChild(dir)
		return
	}
	// glog, a dependency of the database, keeps a goroutine for ever.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

func TestMessagesComeBackInOrderAndOnce(t *testing.T) {
	s := open(t)
	q := queue(t, s, "up")
	meta := message.Target{Queue: "up", Rule: "hot", Meta: []byte{7}, Expires: time.Now().Add(time.Hour).UnixMilli()}
	add(t, s, item("a", meta), item("b", to("up")))
	add(t, s, item("c", to("up")))

	ds := lease(t, q, 2)
	same(t, "first lease", bodies(ds), []string{"a", "b"})
	same(t, "rule", ds[0].Rule, "hot")
	same(t, "meta", ds[0].Meta, []byte{7})
	same(t, "expiry", ds[0].Expire, meta.Expires)
	same(t, "sequences", []uint64{ds[0].Seq, ds[1].Seq}, []uint64{1, 2})
	same(t, "second lease", bodies(lease(t, q, 10)), []string{"c"})
	same(t, "nothing left", len(lease(t, q, 10)), 0)
	balanced(t, s)
}

func TestAnItemIsInAllItsQueuesOrInNone(t *testing.T) {
	s := open(t)
	full := queue(t, s, "full")
	full.SetLimit(1, Reject)
	errs := tryAdd(s, item("x", to("a"), to("full"), to("b")), item("y", to("a"), to("b")))
	if !errors.Is(errs[0], ErrQuota) || errs[1] != nil {
		t.Fatalf("errors: %v", errs)
	}
	for _, n := range []string{"a", "b"} {
		same(t, n, bodies(lease(t, queue(t, s, n), 10)), []string{"y"})
	}
	balanced(t, s)
}

func TestRecordsOfRefusedItemsAreNotWritten(t *testing.T) {
	s := open(t)
	queue(t, s, "full").SetLimit(1, Reject)
	done := make(chan []error, 1)
	s.Append(&Request{
		Items: []Item{item("x", to("full")), item("y", to("a"))},
		Records: func(refused []error) (rs []message.Record) {
			for i, key := range []string{"x", "y"} {
				if refused == nil || refused[i] == nil {
					rs = append(rs, message.Record{Bucket: "ids", Key: key, Value: []byte{1}})
				}
			}
			return rs
		},
		Done: func(_ *Request, errs []error) { done <- errs },
	})
	if errs := <-done; len(errs) != 2 || !errors.Is(errs[0], ErrQuota) || errs[1] != nil {
		t.Fatalf("errors: %v", errs)
	}
	if _, err := s.Get("ids", "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the record of a refused item: %v", err)
	}
	if _, err := s.Get("ids", "y"); err != nil {
		t.Errorf("the record of a stored item: %v", err)
	}
}

func TestPrioritiesLeaveFirst(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	at := func(p uint8) message.Target { return message.Target{Queue: "q", Rule: "r", Priority: p} }
	add(t, s, item("low1", at(message.PriorityNone)), item("high1", at(0)), item("mid1", at(5)))
	add(t, s, item("low2", at(message.PriorityNone)), item("mid2", at(5)))
	add(t, s, item("high2", at(0)))
	same(t, "one at a time", bodies(lease(t, q, 1)), []string{"high1"})
	same(t, "the rest", bodies(lease(t, q, 10)), []string{"high2", "mid1", "mid2", "low1", "low2"})
	if errs := tryAdd(s, item("x", at(11))); errs == nil {
		t.Fatal("priority 11 was accepted")
	}
}

func TestRewindBringsBackWhatIsNotSettled(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	for i := range 6 {
		add(t, s, item(fmt.Sprint(i), to("q")))
	}
	lease(t, q, 4)
	q.Settle(2, message.Delivered, "")
	q.Settle(1, message.Delivered, "")
	flush(t, q)
	same(t, "floor", q.Floor(), uint64(3))
	q.Rewind()
	ds := lease(t, q, 10)
	same(t, "after rewind", bodies(ds), []string{"2", "3", "4", "5"})
	same(t, "attempts", []int{ds[0].Attempt, ds[2].Attempt}, []int{2, 1})
	q.SettleAll([]uint64{3, 4, 5, 6})
	flush(t, q)
	same(t, "floor at the end", q.Floor(), uint64(7))
	same(t, "head", q.Head(), uint64(7))
	balanced(t, s)
}

func TestSettledStaysSettledAfterReopen(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	q := queue(t, s, "q")
	add(t, s, item("0", to("q")), item("1", message.Target{Queue: "q", Rule: "other"}), item("2", to("q")), item("3", to("q")))
	add(t, s, item("4", to("q")))
	lease(t, q, 10)
	q.Settle(2, message.Dropped, "policy")
	q.Settle(4, message.Delivered, "")
	epoch := s.Epoch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openAt(t, Config{Dir: dir})
	q = queue(t, s, "q")
	same(t, "epoch", s.Epoch(), epoch)
	same(t, "exceptions", q.Exceptions(), []Exception{{First: 2, Last: 2, Count: 1, Reason: "policy"}})
	same(t, "dropped", accountOf(t, s, "q", "other").Dropped, map[string]uint64{"policy": 1})
	balanced(t, s)
	same(t, "after reopen", bodies(lease(t, q, 10)), []string{"0", "2", "4"})
	same(t, "floor", q.Floor(), uint64(1))
	q.SettleAll([]uint64{1, 3, 5})
	flush(t, q)
	same(t, "queued", accountOf(t, s, "q", "r").Queued, uint64(0))
	add(t, s, item("5", to("q")))
	same(t, "sequence goes on", lease(t, q, 1)[0].Seq, uint64(6))
	balanced(t, s)
}

func TestSequencesAreNotReusedAfterDrainAndReopen(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	add(t, s, item("a", to("q")), item("b", to("q")))
	q := queue(t, s, "q")
	lease(t, q, 2)
	q.SettleAll([]uint64{1, 2})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Config{Dir: dir})
	add(t, s, item("c", to("q")))
	same(t, "sequence", lease(t, queue(t, s, "q"), 1)[0].Seq, uint64(3))
}

// A lease reads blocks without holding the queue; one that was settled and
// deleted meanwhile must not come to life again.
func TestBlockDeletedDuringReadIsNotLeased(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	add(t, s, item("a", to("q")))
	r, ok := q.nextRun([]Lane{Live})
	if !ok {
		t.Fatal("nothing waits")
	}
	blocks, err := q.read(r, 10, 1000)
	if err != nil || len(blocks) != 1 {
		t.Fatalf("read %d blocks: %v", len(blocks), err)
	}
	lease(t, q, 1)
	q.Settle(1, message.Delivered, "")
	flush(t, q)
	l := leaser{q: q, left: 10, bytes: 1000}
	if more, err := l.take(r, blocks[0], blocks[0].value[blockHeader:]); more || err != nil || len(l.dst) > 0 {
		t.Fatalf("leased %d from a deleted block: %v", len(l.dst), err)
	}
	same(t, "open blocks", len(q.open), 0)
}

func TestWritesAreSynced(t *testing.T) {
	if !open(t).db.Opts().SyncWrites {
		t.Fatal("accepted would not mean on disk")
	}
}

func TestLanes(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	for i := range 4 {
		add(t, s, item(fmt.Sprint("old", i), to("q")))
	}
	lease(t, q, 1)
	q.Split()
	add(t, s, item("new0", to("q")))
	add(t, s, item("new1", to("q")))
	laned := func(l Lane, n int) []string {
		ds, err := q.LeaseLane(l, nil, n)
		if err != nil {
			t.Fatal(err)
		}
		return bodies(ds)
	}
	same(t, "live first", laned(Live, 1), []string{"new0"})
	same(t, "backlog", laned(Backlog, 2), []string{"old1", "old2"})
	q.Split()
	add(t, s, item("newest", to("q")))
	same(t, "live after a second split", laned(Live, 5), []string{"newest"})
	same(t, "backlog after it", laned(Backlog, 5), []string{"old3", "new1"})
	q.Rewind()
	same(t, "strict order", bodies(lease(t, q, 10)), []string{"old0", "old1", "old2", "old3", "new0", "new1", "newest"})
}

func TestExpiredMessagesAreNotLeased(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	past := message.Target{Queue: "q", Rule: "r", Expires: time.Now().Add(-time.Second).UnixMilli()}
	add(t, s, item("late", past), item("ok", to("q")))
	same(t, "lease", bodies(lease(t, q, 10)), []string{"ok"})
	flush(t, q)
	a := accountOf(t, s, "q", "r")
	same(t, "expired and queued", []uint64{a.Expired, a.Queued}, []uint64{1, 1})
	same(t, "exceptions", q.Exceptions(), []Exception{{First: 1, Last: 1, Count: 1, Reason: "expired"}})
	balanced(t, s)
}

func TestSweepExpiresWithoutConsumer(t *testing.T) {
	var ahead atomic.Int64
	s := openAt(t, Config{
		Dir: t.TempDir(), SweepEvery: 5 * time.Millisecond,
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	soon := message.Target{Queue: "q", Rule: "ttl", Expires: time.Now().Add(time.Minute).UnixMilli()}
	add(t, s, item("stays", to("q")))
	add(t, s, item("goes", soon), item("stays too", to("q")))
	add(t, s, item("goes whole", soon))
	same(t, "before", accountOf(t, s, "q", "ttl").Queued, uint64(2))
	ahead.Store(int64(2 * time.Minute))
	eventually(t, "expiry", func() bool { return accountOf(t, s, "q", "ttl").Expired == 2 })
	same(t, "left", bodies(lease(t, queue(t, s, "q"), 10)), []string{"stays", "stays too"})
	balanced(t, s)
}

func TestDropOldestMakesRoom(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	body := strings.Repeat("x", 1000)
	q.SetLimit(10_500, DropOldest)
	for i := range 30 {
		add(t, s, item(fmt.Sprintf("%02d%s", i, body), to("q")))
	}
	flush(t, q)
	a := accountOf(t, s, "q", "r")
	if a.Queued < 9 || a.Queued > 10 || a.Dropped["quota"] != 30-a.Queued {
		t.Fatalf("account: %+v", a)
	}
	ds := lease(t, q, 100)
	same(t, "the newest is there", string(ds[len(ds)-1].Body[:2]), "29")
	balanced(t, s)
}

func TestStoreQuotaAndReserve(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), MaxBytes: 5000})
	for i := 0; ; i++ {
		if errs := tryAdd(s, item(strings.Repeat("x", 1000), to(fmt.Sprint(i)))); errs != nil {
			if !errors.Is(errs[0], ErrQuota) || i < 3 {
				t.Fatalf("item %d: %v", i, errs)
			}
			break
		}
	}
	tight := openAt(t, Config{Dir: t.TempDir(), ReserveBytes: 1 << 60})
	if errs := tryAdd(tight, item("x", to("q"))); !errors.Is(errs[0], ErrDiskFull) {
		t.Fatalf("below the reserve: %v", errs)
	}
}

func TestRecords(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	put := func(rs ...message.Record) error {
		done := make(chan error, 1)
		s.Put(func(err error) { done <- err }, rs...)
		return <-done
	}
	big := strings.Repeat("b", 100_000)
	if err := put(message.Record{Bucket: "a", Key: "2", Value: []byte("two")}, message.Record{Bucket: "a", Key: "1", Value: []byte(big)},
		message.Record{Bucket: "ab", Key: "x", Value: []byte{}}); err != nil {
		t.Fatal(err)
	}
	if err := put(message.Record{Bucket: "a", Key: "3", Value: []byte("x")}, message.Record{Bucket: "a", Key: "3"}); err != nil {
		t.Fatal(err)
	}
	if err := put(message.Record{Bucket: "a\x00", Key: "3"}); !errors.Is(err, ErrName) {
		t.Fatalf("NUL in a bucket: %v", err)
	}
	if err := put(message.Record{Bucket: "a", Value: make([]byte, MaxRecord+1)}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("large record: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Config{Dir: dir})
	got := map[string]string{}
	if err := s.Records("a", func(k string, v []byte) error { got[k] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	same(t, "bucket", got, map[string]string{"1": big, "2": "two"})
	if v, err := s.Get("ab", "x"); err != nil || v == nil || len(v) != 0 {
		t.Fatalf("empty record: %v %v", v, err)
	}
	if _, err := s.Get("a", "3"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("deleted record: %v", err)
	}
}

func TestRequestsCompleteInOrder(t *testing.T) {
	s := open(t)
	var order []int
	done := make(chan struct{})
	for i := range 100 {
		r := &Request{Done: func(*Request, []error) {
			order = append(order, i)
			if i == 99 {
				close(done)
			}
		}}
		switch i % 3 {
		case 0:
			r.Items = []Item{item("x", to("q"))}
		case 1:
			r.Items = []Item{item("x", message.Target{Queue: ""})} // refused
		}
		s.Append(r)
	}
	<-done
	for i, n := range order {
		if i != n {
			t.Fatalf("completed in the order %v", order)
		}
	}
}

func TestFailedCommitAcceptsNothingAndKeepsSettlements(t *testing.T) {
	var fail atomic.Bool
	boom := errors.New("boom")
	s := openAt(t, Config{Dir: t.TempDir(), BeforeCommit: func() error {
		if fail.Load() {
			return boom
		}
		return nil
	}})
	q := queue(t, s, "q")
	add(t, s, item("a", to("q")), item("b", to("q")))
	lease(t, q, 1)
	fail.Store(true)
	q.Settle(1, message.Buried, "why", message.Record{Bucket: "k", Key: "1", Value: []byte("v")})
	for _, err := range tryAdd(s, item("c", to("q")), item("d", to("q"))) {
		if !errors.Is(err, boom) {
			t.Fatalf("failed commit: %v", err)
		}
	}
	fail.Store(false)
	flush(t, q)
	add(t, s, item("e", to("q")))
	same(t, "lease", bodies(lease(t, q, 10)), []string{"b", "e"})
	a := accountOf(t, s, "q", "r")
	same(t, "accepted, buried", []uint64{a.Accepted, a.Buried}, []uint64{3, 1})
	if _, err := s.Get("k", "1"); err != nil {
		t.Fatal(err)
	}
	balanced(t, s)
}

func TestNothingIsAcceptedBeforeTheSync(t *testing.T) {
	gate := make(chan struct{})
	var held atomic.Bool
	s := openAt(t, Config{Dir: t.TempDir(), BeforeCommit: func() error {
		if held.Load() {
			<-gate
		}
		return nil
	}})
	add(t, s, item("a", to("q")))
	held.Store(true)
	done := make(chan []error, 1)
	s.Append(&Request{Items: []Item{item("b", to("q"))}, Done: func(_ *Request, errs []error) { done <- errs }})
	select {
	case <-done:
		t.Fatal("done before the commit")
	case <-time.After(50 * time.Millisecond):
	}
	same(t, "not visible either", len(lease(t, queue(t, s, "q"), 10)), 1)
	held.Store(false)
	close(gate)
	if errs := <-done; errs != nil {
		t.Fatal(errs)
	}
}

func TestOneMessageForManyQueues(t *testing.T) {
	s := open(t)
	var ts []message.Target
	for i := range 600 {
		ts = append(ts, to(fmt.Sprint("session-", i)))
	}
	body := strings.Repeat("x", 5000) // 3 MB in all: more than the LSM share of a transaction
	add(t, s, item(body, ts...))
	same(t, "last queue", bodies(lease(t, queue(t, s, "session-599"), 2)), []string{body})
	for i := 600; i <= MaxTargets; i++ {
		ts = append(ts, to(fmt.Sprint("session-", i)))
	}
	if errs := tryAdd(s, item(body, ts...)); !errors.Is(errs[0], ErrTooLarge) {
		t.Fatalf("too many queues: %v", errs)
	}
	balanced(t, s)
}

func TestLargeMessages(t *testing.T) {
	s := open(t)
	body := strings.Repeat("y", 3<<20)
	add(t, s, item(body, to("q")), item(body, to("q")), item("small", to("q")))
	q := queue(t, s, "q")
	for range 2 {
		ds := lease(t, q, 1)
		if len(ds) != 1 || string(ds[0].Body) != body {
			t.Fatalf("leased %d", len(ds))
		}
	}
	same(t, "after the large ones", bodies(lease(t, q, 1)), []string{"small"})
	if errs := tryAdd(s, item(strings.Repeat("z", MaxMessage), to("q"))); !errors.Is(errs[0], ErrTooLarge) {
		t.Fatalf("over the limit: %v", errs)
	}
	balanced(t, s)
}

func TestClosedStoreAnswers(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if errs := tryAdd(s, item("x", to("q"))); !errors.Is(errs[0], ErrClosed) {
		t.Fatalf("append: %v", errs)
	}
	if _, err := s.Get("a", "b"); !errors.Is(err, ErrClosed) {
		t.Fatalf("get: %v", err)
	}
	if err := s.Drop("q"); !errors.Is(err, ErrClosed) {
		t.Fatalf("drop: %v", err)
	}
	q.Rewind()
}

// Badger v4.9.6 only logs that its value log could not be synced (value.go,
// "Error while curlf sync"); the store must take it for what it is.
func TestFailedValueLogSyncStopsTheStore(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	add(t, s, item("a", to("q")))
	s.blog.Errorf("Error while curlf sync: %v\n", errors.New("input/output error"))
	if errs := tryAdd(s, item("b", to("q"))); errs == nil {
		t.Fatal("accepted without a sync")
	}
	if errs := tryAdd(s, item("c", to("q"))); !errors.Is(errs[0], ErrBroken) {
		t.Fatalf("afterwards: %v", errs)
	}
	if !s.Stats().Broken {
		t.Fatal("the figures do not say so")
	}
}

func TestFailedStoreSaysSo(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	add(t, s, item("a", to("q")))
	select {
	case <-s.Failed():
		t.Fatal("failed while healthy")
	default:
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	s.blog.Errorf("Error while curlf sync: %v\n", errors.New("input/output error"))
	tryAdd(s, item("b", to("q")))
	<-s.Failed()
	if err := s.Err(); !errors.Is(err, ErrBroken) {
		t.Fatalf("error of a broken store: %v", err)
	}
}
