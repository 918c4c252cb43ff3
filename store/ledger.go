package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/internal/binread"
	"github.com/penstock-io/penstock/message"
)

// Account is the ledger of one rule in one queue. Accepted = Delivered + Queued
// + Expired + Buried + the sum of Dropped, always; Queued is not computed from
// the others but counted in the queue's blocks, so that a loss would show.
type Account struct {
	Queue, Rule string

	Accepted  uint64
	Delivered uint64
	Queued    uint64
	Expired   uint64
	Buried    uint64
	Dropped   map[string]uint64 // by cause; nil: none

	Bytes     int64         // of the blocks that hold messages of the rule, its share
	OldestAge time.Duration // of the oldest message in the queue, whatever its rule; 0 if Queued is 0
}

// Balanced reports whether the account adds up. A figure that is larger than
// what was accepted, as after an underflow, does not.
func (a *Account) Balanced() bool {
	left, ok := a.Accepted, true
	take := func(n uint64) {
		ok = ok && n <= left
		left -= n
	}
	take(a.Delivered)
	take(a.Queued)
	take(a.Expired)
	take(a.Buried)
	for _, n := range a.Dropped {
		take(n)
	}
	return ok && left == 0
}

// Ledger returns all accounts, by queue and rule. Each account is one moment.
func (s *Store) Ledger() []Account {
	var all []Account
	for _, q := range s.everyQueue() {
		all = append(all, q.ledger()...)
	}
	slices.SortFunc(all, func(a, b Account) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Rule, b.Rule))
	})
	return all
}

// everyQueue returns the queues, those being dropped, and the one that keeps the
// accounts of dropped ones.
func (s *Store) everyQueue() []*Queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	qs := make([]*Queue, 0, len(s.queues)+len(s.removing)+1)
	qs = append(qs, s.gone)
	for _, q := range s.queues {
		qs = append(qs, q)
	}
	for _, q := range s.removing {
		qs = append(qs, q)
	}
	return qs
}

// Ledger returns the queue's accounts by rule.
func (q *Queue) Ledger() []Account {
	as := q.ledger()
	slices.SortFunc(as, func(a, b Account) int { return cmp.Compare(a.Rule, b.Rule) })
	return as
}

func (q *Queue) ledger() []Account {
	age := q.OldestAge()
	as := q.ledgerOf()
	for i := range as {
		if as[i].Queued > 0 {
			as[i].OldestAge = age
		}
	}
	return as
}

// ledgerOf is ledger without ages, and without reading from disk.
func (q *Queue) ledgerOf() []Account {
	q.mu.Lock()
	defer q.mu.Unlock()
	as := make([]Account, 0, len(q.accounts))
	for rule, a := range q.accounts {
		out := a.out.clone()
		x := Account{
			Queue: q.name, Rule: q.s.rules.name(rule), Accepted: a.accepted, Delivered: out.delivered,
			Queued: uint64(max(a.queued, 0)), Expired: out.expired, Buried: out.buried, Dropped: out.dropped, Bytes: a.bytes,
		}
		as = append(as, x)
	}
	return as
}

// OldestAge returns the age of the oldest message that is not settled, as far as
// the foremost block of each priority tells; 0 for an empty queue.
func (q *Queue) OldestAge() time.Duration {
	oldest := int64(0)
	for p := range uint8(priorities) {
		q.mu.Lock()
		low, some := q.lowest(p), q.lowest(p) < q.next
		q.mu.Unlock()
		if !some {
			continue
		}
		err := q.s.scan(blockKey(keyBlock, q.id, p, low), prioKey(keyBlock, q.id, p), func(it *badger.Item) (bool, error) {
			b, err := blockOf(it)
			if err == nil && (oldest == 0 || b.index.oldest < oldest) {
				oldest = b.index.oldest
			}
			return false, err
		})
		if err != nil {
			q.s.log.Error("read age of queue", "queue", q.name, "err", err)
		}
	}
	if oldest == 0 {
		return 0
	}
	return max(0, time.Duration(q.s.now()-oldest)*time.Millisecond)
}

// Audit recounts everything from the bytes on disk: every block is read, its
// checksum and entries verified, and each account checked against what its
// queue's blocks really hold. It returns the accounts as they are on disk, and an
// error that names what does not add up. Commits wait meanwhile: it is slow.
func (s *Store) Audit() (accounts []Account, err error) {
	done := make(chan struct{})
	task := func() {
		accounts, err = s.audit()
		close(done)
	}
	if !s.task(task) {
		return nil, ErrClosed
	}
	<-done
	return accounts, err
}

func (s *Store) audit() (accounts []Account, err error) {
	if err := s.commit(); err != nil { // what memory knows and the disk does not yet
		return nil, err
	}
	for _, q := range s.everyQueue() {
		queued, err := q.count()
		if err != nil {
			return accounts, fmt.Errorf("audit queue %s: %w", q.name, err)
		}
		for _, a := range q.stored() {
			a.Queued = queued[a.Rule]
			accounts = append(accounts, a)
			if !a.Balanced() {
				return accounts, fmt.Errorf("audit queue %s, rule %s: %+v does not add up: %w", q.name, a.Rule, a, ErrDamaged)
			}
			delete(queued, a.Rule)
		}
		for rule, n := range queued {
			return accounts, fmt.Errorf("audit queue %s: %d messages of rule %q have no account: %w", q.name, n, rule, ErrDamaged)
		}
	}
	return accounts, nil
}

// count counts unsettled messages per rule in the blocks on disk.
func (q *Queue) count() (map[string]uint64, error) {
	queued := make(map[string]uint64)
	err := q.s.scan(queueKey(keyBlock, q.id), queueKey(keyBlock, q.id), func(it *badger.Item) (bool, error) {
		b, err := blockOf(it)
		if err != nil {
			return false, err
		}
		settled, err := q.storedPart(b)
		if err != nil {
			return false, err
		}
		err = it.Value(func(v []byte) error {
			entries, err := entriesOf(b.key[:blockPrefix], v)
			if err != nil {
				return err
			}
			return countEntries(b, entries, settled, func(rule uint32) { queued[q.s.rules.name(rule)]++ })
		})
		return err == nil, err
	})
	return queued, err
}

func countEntries(b *cached, entries []byte, settled bitset, each func(rule uint32)) error {
	rd := binread.Reader{B: entries}
	var e entry
	for i := uint32(0); i < b.index.count; i++ {
		e.read(&rd)
		if _, err := message.Decode(e.data); err != nil {
			return fmt.Errorf("entry %d of block %x: %w", i, b.key, err)
		}
		if !settled.has(i) {
			each(e.rule)
		}
	}
	if !rd.Whole() {
		return fmt.Errorf("block %x does not hold what its key says: %w", b.key, ErrDamaged)
	}
	return nil
}

// storedPart reads what is settled of a block on disk.
func (q *Queue) storedPart(b *cached) (bitset, error) {
	key := append([]byte{keyPart}, b.key[1:blockPrefix]...)
	v, err := q.s.get(key)
	if err != nil || v == nil {
		return nil, err
	}
	ob := newOpenBlock(b.key, b.key[5], b.first, b.index)
	err = ob.loadPart(v)
	return ob.settled, err
}

// stored reads the queue's accounts from disk.
func (q *Queue) stored() []Account {
	var as []Account
	q.mu.Lock()
	rules := make([]uint32, 0, len(q.accounts))
	for r := range q.accounts {
		rules = append(rules, r)
	}
	q.mu.Unlock()
	for _, r := range rules {
		a := Account{Queue: q.name, Rule: q.s.rules.name(r)}
		if v, err := q.s.get(ruleKey(keyIn, q.id, r)); err == nil && v != nil {
			rd := binread.Reader{B: v}
			a.Accepted = rd.Uvarint()
		}
		if v, err := q.s.get(ruleKey(keyOut, q.id, r)); err == nil && v != nil {
			var o outcomes
			if o.parse(v) == nil {
				a.Delivered, a.Expired, a.Buried, a.Dropped = o.delivered, o.expired, o.buried, o.dropped
			}
		}
		as = append(as, a)
	}
	return as
}
