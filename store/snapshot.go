package store

import (
	"encoding/binary"
	"slices"
)

// snapshot is what one queue's settlements write in a commit.
type snapshot struct {
	q        *Queue
	deleted  []*openBlock
	parts    []*openBlock
	prefixes []uint32 // of parts, as written
	accounts []*account
	next     uint64 // as written to the queue record; 0: not written
	except   bool
}

// unsaved reports whether the queue record must be written.
func (q *Queue) unsaved() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.onDisk == 0 || q.changed
}

// settle writes what is settled of the included queues and, while there is room,
// of the dirty ones; it returns those left over.
func (c *commit) settle(dirty []*Queue) (left []*Queue) {
	for _, q := range dirty {
		if c.room(q) {
			c.include(q)
			c.extra++
		} else {
			left = append(left, q)
		}
	}
	for _, q := range c.order {
		c.snap(q)
	}
	return left
}

func (c *commit) snap(q *Queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inDirty = false
	if q.deleted || c.dropped[q] {
		return
	}
	sn := &snapshot{q: q}
	c.snaps = append(c.snaps, sn)
	end := sn.blocks(c)
	for rule, a := range q.accounts {
		if n := c.unbury[q][rule]; a.outDirty || n > 0 {
			out := a.out
			out.buried -= n
			c.put(ruleKey(keyOut, q.id, rule), out.append(nil))
			if a.outDirty {
				a.outDirty = false
				sn.accounts = append(sn.accounts, a)
			}
		}
	}
	if q.except.dirty {
		c.put(queueKey(keyExcept, q.id), q.except.append(nil))
		q.except.dirty, sn.except = false, true
	}
	if q.onDisk == 0 || q.changed || end > q.onDisk {
		r := q.record()
		if a := c.byQueue[q]; a != nil {
			r.next = a.next
		}
		c.put(queueKey(keyQueue, q.id), r.append(nil))
		sn.next, q.changed = r.next, false
	}
}

// blocks writes the dirty blocks and returns the end of the last deleted one:
// the queue record must hold a next sequence at least as high, because the next
// sequence is otherwise known from the blocks alone.
func (sn *snapshot) blocks(c *commit) (end uint64) {
	q := sn.q
	for _, b := range q.dirty {
		b.dirty = false
		part := blockKey(keyPart, q.id, b.prio, b.first)
		if b.left > 0 {
			c.put(part, b.part())
			sn.parts = append(sn.parts, b)
			sn.prefixes = append(sn.prefixes, b.settled.prefix())
			continue
		}
		c.del(b.key)
		if b.onDisk {
			c.del(part)
		}
		sn.deleted = append(sn.deleted, b)
		end = max(end, b.first+uint64(b.count))
	}
	q.dirty, q.dirtyWeight = nil, 0
	return end
}

func (sn *snapshot) publish() {
	q := sn.q
	q.mu.Lock()
	if sn.next > 0 {
		q.onDisk = sn.next
	}
	for i, b := range sn.parts {
		b.onDisk, b.prefix = true, sn.prefixes[i]
	}
	gone := make(map[*openBlock]bool, len(sn.deleted))
	for _, b := range sn.deleted {
		gone[b] = true
		q.weight -= b.weight()
		q.moved++
		last := &q.lastGone[q.lane(b.first)][b.prio]
		*last = max(*last, b.first)
		q.blocks--
		for _, r := range b.rules {
			q.account(r.rule).bytes -= int64(r.bytes)
		}
	}
	if len(gone) > 0 {
		q.open = slices.DeleteFunc(q.open, func(b *openBlock) bool { return gone[b] })
	}
	q.mu.Unlock()
	var bytes int64
	for _, b := range sn.deleted {
		bytes += int64(b.bytes)
		q.s.cache.remove(tailKey{q.id, b.prio}, b.first)
	}
	q.s.release(q, bytes)
	q.s.freed.Add(bytes + int64(len(sn.deleted))*64)
	if len(sn.deleted) > 0 {
		q.signal() // a lease may have stopped at maxOpen
	}
}

func (sn *snapshot) undo() {
	q := sn.q
	q.mu.Lock()
	for _, b := range append(sn.deleted, sn.parts...) {
		q.mark(b)
	}
	for _, a := range sn.accounts {
		a.outDirty = true
	}
	q.except.dirty = q.except.dirty || sn.except
	q.changed = q.changed || sn.next > 0
	q.mu.Unlock()
	q.touch()
}

func appendCount(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }
