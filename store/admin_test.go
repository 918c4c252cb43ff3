package store

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/message"
)

func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	q := queue(t, s, "q")
	add(t, s, item("a", message.Target{Queue: "q", Rule: "r", Priority: 3, Meta: []byte("m")}), item("b", to("q")), item("c", to("q")))
	lease(t, q, 3)
	q.Settle(1, message.Buried, "refused", message.Record{Bucket: "k", Key: "1", Value: []byte("v")})
	q.Settle(3, message.Buried, "too old") // the less urgent one, numbered last
	flush(t, q)
	if v, err := s.Get("k", "1"); err != nil || string(v) != "v" {
		t.Fatalf("record written with the settlement: %q %v", v, err)
	}
	balanced(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openAt(t, Config{Dir: dir})
	q = queue(t, s, "q")
	dead, err := q.Dead(0, 10)
	if err != nil || len(dead) != 2 {
		t.Fatalf("dead letters: %v %v", dead, err)
	}
	same(t, "causes", []string{dead[0].Cause, dead[1].Cause}, []string{"refused", "too old"})
	n, err := q.Requeue(dead[0].Seq, dead[1].Seq, 99)
	if err != nil || n != 2 {
		t.Fatalf("requeue: %d %v", n, err)
	}
	a := accountOf(t, s, "q", "r")
	same(t, "buried, queued, accepted", []uint64{a.Buried, a.Queued, a.Accepted}, []uint64{0, 3, 3})
	balanced(t, s)
	ds := lease(t, q, 10)
	if len(ds) != 3 || ds[2].Seq < 4 || string(ds[2].Meta) != "m" || ds[2].Priority != 3 {
		t.Fatalf("leased: %v", bodies(ds))
	}
	q.Settle(ds[2].Seq, message.Buried, "again")
	flush(t, q)
	if n, err := q.PurgeDead(); err != nil || n != 1 {
		t.Fatalf("purge dead: %d %v", n, err)
	}
	same(t, "buried stays counted", accountOf(t, s, "q", "r").Buried, uint64(1))
	balanced(t, s)
}

func TestDeadLettersAreBounded(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), DeadBytes: 5000})
	q := queue(t, s, "q")
	for i := range 20 {
		add(t, s, item(fmt.Sprintf("%02d%s", i, strings.Repeat("x", 1000)), to("q")))
	}
	for _, d := range lease(t, q, 20) {
		q.Settle(d.Seq, message.Buried, "test")
	}
	flush(t, q)
	dead, err := q.Dead(0, 100)
	if err != nil || len(dead) < 3 || len(dead) > 4 || dead[len(dead)-1].Seq != 20 {
		t.Fatalf("%d dead letters, %v", len(dead), err)
	}
	same(t, "buried", accountOf(t, s, "q", "r").Buried, uint64(20))
	balanced(t, s)
}

func TestPeekAndPurge(t *testing.T) {
	s := open(t)
	q := queue(t, s, "q")
	for i := range 5 {
		add(t, s, item(fmt.Sprint(i), to("q")))
	}
	lease(t, q, 2)
	q.Settle(1, message.Delivered, "")
	ds, err := q.Peek(2, 3)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "peek", bodies(ds), []string{"1", "2", "3"})
	n, err := q.Purge()
	if err != nil || n != 4 {
		t.Fatalf("purged %d: %v", n, err)
	}
	same(t, "dropped", accountOf(t, s, "q", "r").Dropped, map[string]uint64{"purged": 4})
	same(t, "nothing left", len(lease(t, q, 10)), 0)
	same(t, "floor", q.Floor(), uint64(6))
	add(t, s, item("next", to("q")))
	same(t, "goes on", bodies(lease(t, q, 10)), []string{"next"})
	balanced(t, s)
}

func TestDropCountsWhatWasInTheQueue(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	q := queue(t, s, "q")
	add(t, s, item("a", to("q")), item("b", to("q")), item("c", to("q")))
	lease(t, q, 2)
	q.Settle(1, message.Delivered, "")
	if err := s.Drop("q"); err != nil {
		t.Fatal(err)
	}
	same(t, "queues", len(s.Queues()), 0)
	check := func() {
		a := accountOf(t, s, RemovedQueue, "r")
		same(t, "account", []uint64{a.Accepted, a.Delivered, a.Dropped["removed"], a.Queued}, []uint64{3, 1, 2, 0})
		balanced(t, s)
	}
	check()
	add(t, s, item("again", to("q")))
	same(t, "new life, higher sequence", lease(t, queue(t, s, "q"), 1)[0].Seq, uint64(4))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Config{Dir: dir})
	check()
	same(t, "queues after reopen", s.Queues(), []string{"q"})
	same(t, "new life after reopen", lease(t, queue(t, s, "q"), 1)[0].Seq, uint64(4))
}

func TestInterruptedDropIsFinishedByOpen(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	add(t, s, item("a", to("q")), item("b", to("q")))
	q := queue(t, s, "q")
	q.removed.Store(true) // as far as Drop had come when the power failed
	q.mu.Lock()
	q.changed = true
	q.mu.Unlock()
	q.touch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Config{Dir: dir})
	eventually(t, "the drop", func() bool { return accountOf(t, s, RemovedQueue, "r").Dropped["removed"] == 2 })
	same(t, "queues", len(s.Queues()), 0)
	balanced(t, s)
}

func TestExceptionsStayBounded(t *testing.T) {
	var x exceptions
	var count uint64
	for i := uint64(1); i < 5000; i += 2 {
		x.add(i, i, []string{"expired", "quota"}[i/2%2])
		count++
	}
	if len(x.runs) > maxExceptions {
		t.Fatalf("%d runs", len(x.runs))
	}
	var sum uint64
	for _, e := range x.runs {
		sum += e.Count
	}
	same(t, "count", sum, count)
	var y exceptions
	y.add(5, 6, "a")
	y.add(1, 2, "a")
	y.add(3, 4, "a")
	y.add(8, 8, "b")
	y.add(7, 7, "a")
	same(t, "joined", y.runs, []Exception{{1, 7, 7, "a"}, {8, 8, 1, "b"}})
}

func TestDamagedBlockIsDroppedAndCounted(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), CacheBytes: 1, Log: slog.New(slog.DiscardHandler)})
	q := queue(t, s, "q")
	add(t, s, item("a", to("q")), item("b", to("q")))
	add(t, s, item("c", to("q")))
	err := s.db.Update(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: queueKey(keyBlock, q.id)})
		defer it.Close()
		it.Rewind()
		v, err := it.Item().ValueCopy(nil)
		v[len(v)-1]++
		return errors.Join(err, txn.Set(it.Item().KeyCopy(nil), v))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Audit(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("audit: %v", err)
	}
	same(t, "lease", bodies(lease(t, q, 10)), []string{"c"})
	flush(t, q)
	same(t, "dropped", accountOf(t, s, "q", "r").Dropped, map[string]uint64{"damaged": 2})
	balanced(t, s)
}

// Drop, a new queue of the same name, and a crash before the drop was on disk.
func TestTheNewerOfTwoQueuesOfANameWins(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	add(t, s, item("old", to("q")))
	s.mu.Lock() // as far as Drop had come
	old := s.queues["q"]
	delete(s.queues, "q")
	s.seqBase = old.Head()
	s.mu.Unlock()
	add(t, s, item("new", to("q")))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Config{Dir: dir, SweepEvery: 10 * time.Millisecond})
	ds := lease(t, queue(t, s, "q"), 9)
	same(t, "the newer queue", bodies(ds), []string{"new"})
	same(t, "its sequence", ds[0].Seq, uint64(2))
	eventually(t, "the drop", func() bool { return accountOf(t, s, RemovedQueue, "r").Dropped["removed"] == 1 })
	same(t, "queues", s.Queues(), []string{"q"})
	balanced(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	balanced(t, openAt(t, Config{Dir: dir}))
}

// Until an interrupted drop is finished, a new queue of the name begins above it.
func TestInterruptedDropKeepsItsSequences(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	add(t, s, item("a", to("q")), item("b", to("q")))
	q := queue(t, s, "q")
	q.removed.Store(true)
	q.mu.Lock()
	q.changed = true
	q.mu.Unlock()
	q.touch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Config{Dir: dir, SweepEvery: time.Hour})
	add(t, s, item("c", to("q")))
	same(t, "sequence", lease(t, queue(t, s, "q"), 1)[0].Seq, uint64(3))
}
