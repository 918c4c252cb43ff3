package store

import (
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/internal/binread"
	"github.com/penstock-io/penstock/message"
)

// retireRun bounds the blocks that one step of a purge or sweep settles.
const retireRun = 512

// Purge drops every message of the queue, leased or not, counted as dropped
// "purged", and returns how many there were. It waits for the commits.
func (q *Queue) Purge() (int64, error) {
	n, err := q.purge("purged")
	if err != nil {
		return n, fmt.Errorf("purge queue %s: %w", q.name, err)
	}
	return n, nil
}

func (q *Queue) purge(cause string) (total int64, err error) {
	q.mu.Lock()
	end := q.next // what comes later stays
	q.mu.Unlock()
	for p := range uint8(priorities) {
		for {
			n, more, err := q.purgeRun(p, end, cause)
			total += n
			if err != nil {
				return total, err
			}
			if err := q.s.do(&op{eager: true, queues: []*Queue{q}}); err != nil {
				return total, err
			}
			if !more {
				break
			}
		}
	}
	return total, nil
}

// purgeRun settles the next blocks of one priority; more is false if there were none.
func (q *Queue) purgeRun(p uint8, end uint64, cause string) (messages int64, more bool, err error) {
	q.leaseMu.Lock()
	defer q.leaseMu.Unlock()
	weight := 0
	_, passed, err := q.walk(p, 0, retireRun, func(b *cached) bool {
		if b.first >= end || weight > maxRunWeight {
			return false
		}
		if n := q.left(b); n > 0 {
			messages += n
			more = true
			weight += 192 + len(b.key)
			q.retire(b.key, b.index, message.Dropped, cause)
		}
		return true
	})
	return messages, more || passed, err
}

// left returns how many messages of a block are not settled.
func (q *Queue) left(b *cached) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ob := q.at(b.first); ob != nil {
		return int64(ob.left)
	}
	return int64(b.index.count)
}

// walk calls each for up to most blocks of a priority from sequence `from` on,
// reading keys only, and returns where to go on (0 at the end). Blocks that may
// have been deleted meanwhile are passed over; passed says that there were some,
// perhaps still there. Needs leaseMu.
func (q *Queue) walk(p uint8, from uint64, most int, each func(*cached) bool) (next uint64, passed bool, err error) {
	q.mu.Lock()
	from, moved, end := max(from, q.lowest(p)), q.moved, q.next
	q.mu.Unlock()
	n := 0
	err = q.s.scan(blockKey(keyBlock, q.id, p, from), prioKey(keyBlock, q.id, p), func(it *badger.Item) (bool, error) {
		b, err := blockOf(it)
		if err != nil || b.first >= end {
			return false, err
		}
		q.mu.Lock()
		gone := q.at(b.first) == nil && q.stale(b.first, p, moved)
		q.mu.Unlock()
		if gone {
			passed = true
			return true, nil
		}
		n++
		if !each(b) || n >= most {
			next = b.first + 1
			return false, nil
		}
		return true, nil
	})
	return next, passed, err
}

// sweep settles expired messages of waiting blocks: the foremost blocks every
// time, all others in turns.
func (q *Queue) sweep() error {
	if !q.leaseMu.TryLock() {
		return nil // somebody leases, which expires too
	}
	defer q.leaseMu.Unlock()
	if q.removed.Load() {
		return nil
	}
	for p := range uint8(priorities) {
		q.mu.Lock()
		waits := q.waiting[Backlog][p]+q.waiting[Live][p] > 0
		q.mu.Unlock()
		if !waits {
			continue
		}
		if _, err := q.sweepFrom(p, 0); err != nil {
			return err
		}
		next, err := q.sweepFrom(p, q.sweepAt[p])
		if err != nil {
			return err
		}
		q.sweepAt[p] = next
	}
	return nil
}

func (q *Queue) sweepFrom(p uint8, from uint64) (next uint64, err error) {
	now := q.s.now()
	var mixed []*cached
	next, _, err = q.walk(p, from, retireRun, func(b *cached) bool {
		if !q.idle(b) || !q.roomFor(b) {
			return true
		}
		switch {
		case b.index.expired(now):
			q.retire(b.key, b.index, message.Expired, "")
		case b.index.earliest != 0 && b.index.earliest <= now && q.due(b, now):
			mixed = append(mixed, b)
		}
		return true
	})
	for _, b := range mixed {
		if err := q.sweepBlock(p, b, now); err != nil {
			q.s.log.Error("expire messages", "queue", q.name, "err", err)
		}
	}
	return next, err
}

// roomFor leaves half of the open blocks to leases.
func (q *Queue) roomFor(b *cached) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.open) < maxOpen/2 && q.weight < maxOpenWeight/2 || q.at(b.first) != nil
}

// due reports whether something may have expired since the block was last looked into.
func (q *Queue) due(b *cached, now int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	ob := q.at(b.first)
	return ob == nil || ob.nextExpiry <= now
}

// sweepBlock reads a block of which some messages have expired and settles those.
func (q *Queue) sweepBlock(p uint8, b *cached, now int64) error {
	err := q.s.scan(b.key, b.key, func(it *badger.Item) (bool, error) {
		var err error
		b.value, err = it.ValueCopy(nil)
		return false, err
	})
	if err != nil || b.value == nil {
		return err
	}
	entries, err := entriesOf(b.key[:blockPrefix], b.value)
	if err != nil {
		return err
	}
	q.mu.Lock()
	ob := q.at(b.first)
	if ob == nil {
		ob = newOpenBlock(b.key, p, b.first, b.index)
		q.insert(ob)
	}
	ob.nextExpiry = math.MaxInt64
	rd := binread.Reader{B: entries}
	var e entry
	for i := uint32(0); i < ob.count && ob.walk(i, &rd, &e); i++ {
		if e.expires == 0 || i < ob.at || ob.settled.has(i) || ob.closing.has(i) {
			continue
		}
		if e.expires > now {
			ob.nextExpiry = min(ob.nextExpiry, e.expires)
			continue
		}
		q.waiting[q.lane(ob.first)][p]--
		q.settle(ob, i, e.rule, message.Expired, "")
	}
	q.mu.Unlock()
	q.touch()
	return nil
}
