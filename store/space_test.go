package store

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
)

// fill appends n messages with bodies of size bytes in requests of batch.
func fill(t testing.TB, s *Store, name string, n, size, batch int) {
	t.Helper()
	body := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{1})
	errs := make(chan error, 1)
	window := make(chan struct{}, 8)
	for i := 0; i < n; i += batch {
		items := make([]Item, min(batch, n-i))
		for j := range items {
			rnd.Read(body)
			items[j] = Item{Data: message.Append(nil, &message.Message{Body: body}), Targets: []message.Target{to(name)}}
		}
		window <- struct{}{}
		s.Append(&Request{Items: items, Done: func(_ *Request, e []error) {
			if e != nil {
				select {
				case errs <- e[0]:
				default:
				}
			}
			<-window
		}})
	}
	for range cap(window) {
		window <- struct{}{}
	}
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}

// drain leases and settles everything and returns how many messages there were.
func drain(t testing.TB, q *Queue) (n int) {
	t.Helper()
	var ds []message.Delivery
	var seqs []uint64
	for {
		var err error
		if ds, err = q.Lease(ds[:0], 1000); err != nil {
			t.Fatal(err)
		}
		if len(ds) == 0 {
			flush(t, q)
			if ds, err = q.Lease(ds[:0], 1000); err != nil || len(ds) == 0 {
				return n
			}
		}
		seqs = seqs[:0]
		for i := range ds {
			seqs = append(seqs, ds[i].Seq)
		}
		n += len(ds)
		q.SettleAll(seqs)
	}
}

func TestDrainedSpaceIsGivenBack(t *testing.T) {
	for _, tc := range []struct{ size, batch int }{{1000, 500}, {1000, 4}} {
		t.Run(fmt.Sprintf("requests of %d", tc.batch), func(t *testing.T) {
			s := openAt(t, Config{Dir: t.TempDir(), ReclaimEvery: 200 * time.Millisecond})
			const n = 120_000
			fill(t, s, "q", n, tc.size, tc.batch)
			full := s.Stats().DiskBytes
			if full < n*int64(tc.size) {
				t.Fatalf("%d bytes on disk for %d messages", full, n)
			}
			same(t, "drained", drain(t, queue(t, s, "q")), n)
			start := time.Now()
			eventually(t, "space comes back", func() bool { return s.Stats().DiskBytes < full/4 })
			t.Logf("%d MB full, %d MB after %s", full>>20, s.Stats().DiskBytes>>20, time.Since(start))
			add(t, s, item("after", to("q")))
			same(t, "still works", bodies(lease(t, queue(t, s, "q"), 2)), []string{"after"})
			balanced(t, s)
		})
	}
}

func TestBacklogCostsDiskNotMemory(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir, CacheBytes: 1 << 20})
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	fill(t, s, "q", 2000, 200, 100)
	before := heap()
	fill(t, s, "q", 300_000, 200, 100)
	var grown int64 // settles when the last memtable is written
	eventually(t, "65 MB of messages to take less than 32 MB of memory", func() bool {
		grown = heap() - before
		return grown < 32<<20
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s = openAt(t, Config{Dir: dir})
	t.Logf("%d KB grown, reopened in %s", grown>>10, time.Since(start))
	same(t, "drained in order", drain(t, queue(t, s, "q")), 302_000)
	balanced(t, s)
}
