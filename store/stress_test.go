package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
)

// TestEverythingAtOnce runs producers, consumers, drops, purges and requeues side
// by side, with commits that fail now and then. Whatever happens, each message is
// delivered at most once without a rewind, and the books balance.
func TestEverythingAtOnce(t *testing.T) {
	s := openAt(t, Config{
		Dir: t.TempDir(), SweepEvery: time.Millisecond, SettleDelay: time.Millisecond, CacheBytes: 20_000, DeadBytes: 20_000,
		ReclaimEvery: 20 * time.Millisecond,
		BeforeCommit: func() error {
			if rand.IntN(50) == 0 {
				return fmt.Errorf("injected")
			}
			return nil
		},
	})
	queue(t, s, "tight").SetLimit(20_000, DropOldest)
	stop := make(chan struct{})
	var producers, others sync.WaitGroup
	for range 4 {
		producers.Go(func() { stressProduce(s) })
	}
	for _, name := range []string{"q", "tight", "comes-and-goes"} {
		others.Go(func() { stressConsume(t, s, name, stop) })
	}
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
			}
			_ = s.Drop("comes-and-goes") // may fail as commits do; Open would finish it
			if q, err := s.Queue("q"); err == nil && i%10 == 0 {
				q.Split()
				_, _ = q.Purge()
				dead, _ := q.Dead(0, 20)
				for _, d := range dead {
					_, _ = q.Requeue(d.Seq)
				}
			}
			for _, a := range s.Ledger() {
				if !a.Balanced() {
					t.Errorf("account does not add up: %+v", a)
				}
			}
		}
	})
	producers.Wait()
	close(stop)
	others.Wait()
	var err error
	for range 20 { // the audit commits, which may be made to fail
		if _, err = s.Audit(); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func stressProduce(s *Store) {
	var wg sync.WaitGroup
	for i := range 300 {
		var items []Item
		for j := range 1 + rand.IntN(20) {
			var ts []message.Target
			for k, name := range []string{"q", "tight", "comes-and-goes"} {
				if rand.IntN(2) == 0 {
					x := message.Target{Queue: name, Rule: fmt.Sprint("r", j%3), Priority: uint8(rand.IntN(3))}
					if k == 0 && rand.IntN(3) == 0 {
						x.Expires = time.Now().Add(time.Duration(rand.IntN(20)) * time.Millisecond).UnixMilli()
					}
					ts = append(ts, x)
				}
			}
			items = append(items, item(fmt.Sprint(i, "-", j), ts...))
		}
		wg.Add(1)
		s.Append(&Request{Items: items, Done: func(*Request, []error) { wg.Done() }})
		if i%10 == 0 {
			wg.Wait()
		}
	}
	wg.Wait()
}

func stressConsume(t *testing.T, s *Store, name string, stop chan struct{}) {
	seen := make(map[uint64]bool)
	for {
		select {
		case <-stop:
			return
		default:
		}
		q, err := s.Queue(name)
		if err != nil {
			t.Error(err)
			return
		}
		ds, err := q.Lease(nil, 1+rand.IntN(50))
		if err != nil {
			t.Error(err)
			return
		}
		if len(ds) == 0 {
			select {
			case <-q.Ready():
			case <-time.After(time.Millisecond):
			}
		}
		for _, d := range ds {
			if seen[d.Seq] {
				t.Errorf("%s: sequence %d leased twice", name, d.Seq)
			}
			seen[d.Seq] = true
			switch rand.IntN(10) {
			case 0:
				q.Settle(d.Seq, message.Buried, "stress")
			case 1:
				q.Settle(d.Seq, message.Delivered, "", message.Record{Bucket: "b", Key: "k", Value: []byte{1}})
			case 2: // stays leased
			default:
				q.Settle(d.Seq, message.Delivered, "")
			}
		}
	}
}
