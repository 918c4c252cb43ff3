package store

import (
	"bytes"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/internal/binread"
	"github.com/penstock-io/penstock/message"
)

// Lease appends up to max messages that are neither leased nor settled to dst:
// priority 0 first, within a priority in the order of their sequences. It never
// waits; it returns fewer when there are no more, when they exceed 1 MiB, or when
// the messages leased before are spread over too many commits (2048, fewer large
// ones). Messages
// whose time has run out are settled as expired on the way. The deliveries'
// strings and bodies must not be changed.
func (q *Queue) Lease(dst []message.Delivery, max int) ([]message.Delivery, error) {
	return q.lease([]Lane{Backlog, Live}, dst, max)
}

// LeaseLane is Lease within one lane.
func (q *Queue) LeaseLane(l Lane, dst []message.Delivery, max int) ([]message.Delivery, error) {
	return q.lease([]Lane{l}, dst, max)
}

func (q *Queue) lease(from []Lane, dst []message.Delivery, max int) ([]message.Delivery, error) {
	q.leaseMu.Lock()
	defer q.leaseMu.Unlock()
	l := leaser{q: q, dst: dst, start: len(dst), left: max, bytes: leaseBytes, now: q.s.now()}
	for l.left > 0 && l.bytes > 0 && !l.full {
		r, ok := q.nextRun(from)
		if !ok {
			break
		}
		if err := l.run(r); err != nil {
			return l.dst, fmt.Errorf("lease from queue %s: %w", q.name, err)
		}
	}
	if l.expired {
		q.touch()
	}
	l.decode()
	return l.dst, nil
}

// run is a stretch of one priority in which the next waiting message is.
type run struct {
	lane     Lane
	prio     uint8
	from, to uint64
	moved    uint64
}

func (q *Queue) nextRun(from []Lane) (run, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.removed.Load() {
		return run{}, false
	}
	for p := range uint8(priorities) {
		for _, l := range from {
			if q.waiting[l][p] == 0 {
				continue
			}
			// A commit is on disk and in the cache before it is counted here.
			r := run{lane: l, prio: p, from: q.cursor[l][p], to: q.next, moved: q.moved}
			if l == Backlog {
				r.to = q.split
			} else {
				r.from = max(r.from, q.split)
			}
			return r, true
		}
	}
	return run{}, false
}

// leaser is the state of one Lease.
type leaser struct {
	q       *Queue
	dst     []message.Delivery
	start   int
	left    int
	bytes   int
	now     int64
	expired bool // something was settled
	full    bool // no further block may be opened
}

// run leases from one stretch: it collects blocks without q.mu, then takes
// messages under it.
func (l *leaser) run(r run) error {
	blocks, err := l.q.read(r, l.left, l.bytes)
	if err != nil {
		return err
	}
	if len(blocks) == 0 {
		return l.q.mismatch(r)
	}
	for _, b := range blocks {
		entries, err := entriesOf(b.key[:blockPrefix], b.value)
		if err != nil {
			l.q.s.log.Error("drop damaged block", "queue", l.q.name, "err", err)
			l.q.retire(b.key, b.index, message.Dropped, "damaged")
			return nil
		}
		more, err := l.take(r, b, entries)
		if err != nil {
			l.q.s.log.Error("drop damaged block", "queue", l.q.name, "err", err)
			l.q.retire(b.key, b.index, message.Dropped, "damaged")
		}
		if !more {
			return nil
		}
	}
	return nil
}

// take leases from one block; false means that the rest of the run must be looked up again.
func (l *leaser) take(r run, b *cached, entries []byte) (bool, error) {
	q := l.q
	q.mu.Lock()
	defer q.mu.Unlock()
	ob := q.at(b.first)
	if ob == nil {
		if q.stale(b.first, r.prio, r.moved) {
			return false, nil
		}
		if len(q.open) >= maxOpen || q.weight >= maxOpenWeight {
			l.full = true
			return false, nil
		}
		ob = newOpenBlock(b.key, r.prio, b.first, b.index)
		q.insert(ob)
	}
	rd := binread.Reader{B: entries[ob.off:]}
	var e entry
	for ; ob.at < ob.count && l.left > 0 && l.bytes > 0; ob.at++ {
		if !ob.walk(ob.at, &rd, &e) {
			return false, fmt.Errorf("read entry %d of block %x: %w", ob.at, ob.key, ErrDamaged)
		}
		ob.off = len(entries) - len(rd.B)
		if ob.settled.has(ob.at) || ob.closing.has(ob.at) {
			continue
		}
		q.waiting[r.lane][r.prio]--
		if e.expires != 0 && e.expires <= l.now {
			q.settle(ob, ob.at, e.rule, message.Expired, "")
			l.expired = true
			continue
		}
		l.add(ob, &e)
	}
	q.cursor[r.lane][r.prio] = ob.first
	if ob.at == ob.count {
		q.cursor[r.lane][r.prio]++
	}
	return ob.at == ob.count, nil
}

func (l *leaser) add(ob *openBlock, e *entry) {
	l.dst = append(l.dst, message.Delivery{
		Message:  message.Message{Body: e.data},
		Seq:      ob.first + uint64(ob.at),
		Rule:     l.q.s.rules.name(e.rule),
		Priority: ob.prio,
		Expire:   e.expires,
		Attempt:  ob.attempt(ob.at),
		Meta:     e.meta,
	})
	l.left--
	l.bytes -= len(e.data) + len(e.meta)
}

// decode replaces the encodings that add left in the bodies. An encoding that
// passed its checksum and is unreadable all the same is dropped as damaged.
func (l *leaser) decode() {
	kept := l.dst[:l.start]
	for i := l.start; i < len(l.dst); i++ {
		d := &l.dst[i]
		m, err := message.Decode(d.Body)
		if err != nil {
			l.q.s.log.Error("drop damaged message", "queue", l.q.name, "seq", d.Seq, "err", err)
			l.q.Settle(d.Seq, message.Dropped, "damaged")
			continue
		}
		d.Message = m
		kept = append(kept, *d)
	}
	l.dst = kept
}

// mismatch handles waiting messages that no block holds.
func (q *Queue) mismatch(r run) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.moved != r.moved {
		return nil // they left meanwhile
	}
	n := q.waiting[r.lane][r.prio]
	if n == 0 {
		return nil // settled meanwhile, by whom they were leased to before a rewind
	}
	q.waiting[r.lane][r.prio] = 0
	return fmt.Errorf("%d messages of priority %d from sequence %d on are not on disk: %w", n, r.prio, r.from, ErrDamaged)
}

// read collects blocks of a run, from the cache or from disk, until they hold
// messages and size bytes, at least one.
func (q *Queue) read(r run, messages, size int) ([]*cached, error) {
	var found []*cached
	want := func(b *cached) bool {
		if q.exhausted(b.first) {
			return true
		}
		found = append(found, b)
		messages -= int(b.index.count)
		size -= len(b.value)
		return messages > 0 && size > 0
	}
	if q.s.cache.read(tailKey{q.id, r.prio}, r.from, r.to, want) {
		return found, nil
	}
	err := q.s.scan(blockKey(keyBlock, q.id, r.prio, r.from), prioKey(keyBlock, q.id, r.prio), func(it *badger.Item) (bool, error) {
		b, err := blockOf(it)
		if err != nil || b.first >= r.to {
			return false, err
		}
		if q.exhausted(b.first) {
			return true, nil
		}
		if b.value, err = it.ValueCopy(nil); err != nil {
			return false, err
		}
		return want(b), nil
	})
	return found, err
}

// exhausted reports whether nothing of the block that begins at first waits.
func (q *Queue) exhausted(first uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.at(first)
	return b != nil && (b.at == b.count || b.left == 0)
}

// blockOf reads an item's key; the value is left alone.
func blockOf(it *badger.Item) (*cached, error) {
	key := it.KeyCopy(nil)
	_, _, first, rest, err := parseBlockKey(key)
	if err != nil {
		return nil, err
	}
	x := new(index)
	if err := x.parse(rest); err != nil {
		return nil, err
	}
	return &cached{key: key, first: first, index: x}, nil
}

// scan calls each for the items from key on that begin with prefix, until it
// returns false. An iterator pins the value log files it may need.
func (s *Store) scan(key, prefix []byte, each func(*badger.Item) (bool, error)) error {
	if !s.reads.enter() {
		return ErrClosed
	}
	defer s.reads.leave()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(key); it.Valid(); it.Next() {
		if more, err := each(it.Item()); err != nil || !more {
			return err
		}
	}
	return nil
}

// Rewind forgets all leases: what is not settled comes again, in order, from the
// lowest sequence on, with a higher Attempt. Settlements of earlier leases that
// arrive afterwards still count.
func (q *Queue) Rewind() {
	q.leaseMu.Lock()
	defer q.leaseMu.Unlock()
	q.mu.Lock()
	for _, b := range q.open {
		if b.at == 0 || b.left == 0 {
			continue
		}
		l := q.lane(b.first)
		if q.waiting[l][b.prio] == 0 || b.first < q.cursor[l][b.prio] {
			q.cursor[l][b.prio] = b.first
		}
		q.waiting[l][b.prio] += b.rewind()
	}
	q.mu.Unlock()
	q.signal()
}

// Peek returns up to max unsettled messages with a sequence of at least from,
// leased or not, by priority and sequence, without leasing them. Attempt is 0.
func (q *Queue) Peek(from uint64, max int) ([]message.Delivery, error) {
	var found []message.Delivery
	for p := range uint8(priorities) {
		q.mu.Lock()
		low := q.lowest(p)
		q.mu.Unlock()
		err := q.s.scan(blockKey(keyBlock, q.id, p, low), prioKey(keyBlock, q.id, p), func(it *badger.Item) (bool, error) {
			b, err := blockOf(it)
			if err != nil || b.first+uint64(b.index.count) <= from {
				return err == nil, err
			}
			value, err := it.ValueCopy(nil)
			if err != nil {
				return false, err
			}
			found, err = q.peekBlock(found, b, value, p, from, max)
			return len(found) < max, err
		})
		if err != nil {
			return found, fmt.Errorf("peek into queue %s: %w", q.name, err)
		}
		if len(found) >= max {
			break
		}
	}
	return found, nil
}

func (q *Queue) peekBlock(dst []message.Delivery, b *cached, value []byte, prio uint8, from uint64, max int) ([]message.Delivery, error) {
	entries, err := entriesOf(b.key[:blockPrefix], value)
	if err != nil {
		return dst, err
	}
	rd := binread.Reader{B: bytes.Clone(entries)}
	for i := uint32(0); i < b.index.count && len(dst) < max; i++ {
		var e entry
		e.read(&rd)
		seq := b.first + uint64(i)
		if seq < from || q.isSettled(b.first, i) {
			continue
		}
		m, err := message.Decode(e.data)
		if err != nil {
			return dst, err
		}
		dst = append(dst, message.Delivery{
			Message: m, Seq: seq, Rule: q.s.rules.name(e.rule), Priority: prio, Expire: e.expires, Meta: e.meta,
		})
	}
	return dst, nil
}

func (q *Queue) isSettled(first uint64, i uint32) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.at(first)
	return b != nil && b.settled.has(i)
}
