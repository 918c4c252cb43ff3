package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/message"
)

// A message that is about to be buried may be purged before the writer comes to
// it. Then it is no dead letter, and requeueing cannot bring it back.
func TestBuryingLosesAgainstPurge(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), SettleDelay: time.Hour})
	q := queue(t, s, "q")
	add(t, s, item("a", to("q")), item("b", to("q")))
	lease(t, q, 1)
	q.Settle(1, message.Buried, "why") // waits for a commit
	if _, err := q.Purge(); err != nil {
		t.Fatal(err)
	}
	balanced(t, s)
	dead, err := q.Dead(0, 10)
	if err != nil || len(dead) != 0 {
		t.Fatalf("%d dead letters of a purged message: %v", len(dead), err)
	}
	if n, err := q.Requeue(1); err != nil || n != 0 {
		t.Fatalf("requeued %d: %v", n, err)
	}
	a := accountOf(t, s, "q", "r")
	same(t, "purged, buried", []uint64{a.Dropped["purged"], a.Buried}, []uint64{2, 0})
	balanced(t, s)
}

// Expiry and the drop of the oldest leave alone what is about to be buried, even
// after a rewind.
func TestBuryingWinsAgainstDropOldest(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), SettleDelay: time.Hour})
	q := queue(t, s, "q")
	add(t, s, item("a", to("q")))
	lease(t, q, 1)
	q.Settle(1, message.Buried, "why")
	q.Rewind()
	q.mu.Lock()
	leased := q.open[0].leased()
	q.mu.Unlock()
	if !leased {
		t.Fatal("a message that is being buried may be dropped")
	}
	flush(t, q)
	if n, err := q.Requeue(1); n != 1 || err != nil {
		t.Fatalf("requeued %d: %v", n, err)
	}
	balanced(t, s)
}

func TestBalancedSeesAnUnderflow(t *testing.T) {
	a := Account{Accepted: 1, Queued: 2, Buried: 1<<64 - 1}
	if a.Balanced() {
		t.Fatalf("%+v passes for balanced", a)
	}
	a = Account{Accepted: 6, Delivered: 1, Queued: 1, Expired: 1, Buried: 1, Dropped: map[string]uint64{"a": 1, "b": 1}}
	if !a.Balanced() {
		t.Fatalf("%+v does not pass for balanced", a)
	}
}

func TestRequeueLeavesDamagedLetters(t *testing.T) {
	s := openAt(t, Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	q := queue(t, s, "q")
	for i := range 3 {
		add(t, s, item(fmt.Sprint(i), to("q")))
	}
	for _, d := range lease(t, q, 3) {
		q.Settle(d.Seq, message.Buried, "why")
	}
	flush(t, q)
	damage(t, s, seqKey(keyDead, q.id, 2))
	n, err := q.Requeue(1, 2, 3)
	if n != 2 || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("%x", binary.BigEndian.AppendUint64(nil, 2))) {
		t.Fatalf("requeued %d: %v", n, err)
	}
	same(t, "back", bodies(lease(t, q, 3)), []string{"0", "2"})
	if n, _ := q.DeadCount(); n != 1 {
		t.Fatalf("%d dead letters", n)
	}
	balanced(t, s)
}

// damage flips the last bit of a value.
func damage(t *testing.T, s *Store, key []byte) {
	t.Helper()
	err := s.db.Update(func(txn *badger.Txn) error {
		it, err := txn.Get(key)
		if err != nil {
			return err
		}
		v, err := it.ValueCopy(nil)
		if err != nil {
			return err
		}
		v[len(v)-1] ^= 1
		return txn.Set(key, v)
	})
	if err != nil {
		t.Fatal(err)
	}
}
