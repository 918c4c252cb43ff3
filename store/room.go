package store

import "github.com/penstock-io/penstock/message"

// makeRoom drops waiting messages until what comes fits the queue's limit: least
// urgent and oldest first, whole blocks where none of their messages is leased,
// else those that are not. It reports whether there was too much.
func (a *queueAppend) makeRoom() bool {
	q := a.q
	limit := q.bound.Load()
	over := q.used.Load() - limit.bytes
	if limit.policy != DropOldest || limit.bytes == 0 || over <= 0 {
		return false
	}
	q.leaseMu.Lock()
	defer q.leaseMu.Unlock()
	q.mu.Lock()
	gone, held := q.leaving()
	q.mu.Unlock()
	blocks, weight := 0, 0
	for p := priorities - 1; p >= 0; p-- {
		_, _, err := q.walk(uint8(p), 0, maxOpen+retireRun, func(b *cached) bool {
			if over <= gone+min(held, limit.bytes) || blocks >= retireRun || weight >= maxRunWeight {
				return false
			}
			g, h := q.dropWaiting(b)
			gone, held = gone+g, held+h
			if g+h > 0 {
				blocks++
				weight += 192 + len(b.key) + int(b.index.count)
			}
			return true
		})
		if err != nil {
			q.s.log.Error("make room in queue", "queue", q.name, "err", err)
		}
	}
	return true
}

// leaving returns the bytes that go without further drops: those of blocks that
// are settled, and those of settled messages held by leased ones of their block,
// which may be on disk for long; they count up to the limit. Needs mu.
func (q *Queue) leaving() (gone, held int64) {
	for _, b := range q.open {
		switch {
		case b.left == 0:
			gone += int64(b.bytes)
		case b.leased():
			held += b.share(b.count - b.left)
		}
	}
	return gone, held
}

// share returns what n of the block's messages take of its bytes, on average.
func (b *openBlock) share(n uint32) int64 { return int64(b.bytes) * int64(n) / int64(b.count) }

// dropWaiting drops a block's messages that are not leased and returns their
// bytes, like leaving. Needs leaseMu.
func (q *Queue) dropWaiting(b *cached) (gone, held int64) {
	if q.idle(b) {
		q.retire(b.key, b.index, message.Dropped, "quota")
		return int64(b.index.bytes), 0
	}
	q.mu.Lock()
	ob := q.at(b.first)
	n := q.trim(ob, message.Dropped, "quota")
	q.mu.Unlock()
	if n > 0 {
		q.touch()
	}
	return 0, ob.share(n)
}

// idle reports whether a block has messages and none of them is leased.
func (q *Queue) idle(b *cached) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	ob := q.at(b.first)
	return ob == nil || ob.left > 0 && !ob.leased()
}

// trim settles the messages of an open block that are neither leased nor about to
// be settled, and returns how many there were. Needs mu and leaseMu.
func (q *Queue) trim(b *openBlock, o message.Outcome, cause string) (n uint32) {
	kept := make(map[uint32]uint32) // by rule; only of messages that were leased is the rule known
	for i := b.settled.next(0, b.count, false); i < b.count; i = b.settled.next(i+1, b.count, false) {
		if i >= b.at && !b.closing.has(i) {
			n++
		} else if rule, ok := b.rule(i); ok {
			kept[rule]++
		}
	}
	if n == 0 {
		return 0
	}
	for i := b.settled.next(b.at, b.count, false); i < b.count; i = b.settled.next(i+1, b.count, false) {
		if b.closing.has(i) {
			continue
		}
		b.settled.set(i)
		q.except.add(b.first+uint64(i), b.first+uint64(i), reasonOf(o, cause))
	}
	for _, r := range b.rules {
		if gone := r.count - kept[r.rule]; gone > 0 {
			q.book(r.rule, o, cause, uint64(gone))
			b.take(r.rule, gone)
		}
	}
	q.waiting[q.lane(b.first)][b.prio] -= int64(n)
	q.mark(b)
	return n
}
