package store

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Requeue puts dead letters back into their queue under new sequences, keeping
// rule, priority and time to live, and returns how many there were. It waits for
// the commits. Quotas do not apply: the messages were accepted long ago. Damaged
// letters stay where they are; the error, ErrDamaged, names the first, and the
// others are back in the queue all the same.
func (q *Queue) Requeue(seqs ...uint64) (int, error) {
	total := 0
	var damaged error
	for len(seqs) > 0 {
		r := requeue{q: q, seqs: seqs[:min(len(seqs), 256)]}
		o := &op{queues: []*Queue{q}, eager: true, weight: weight{2*len(r.seqs) + 64, txnBytes / 2}, apply: r.apply}
		if err := q.s.do(o); err != nil {
			return total, fmt.Errorf("requeue dead letters of queue %s: %w", q.name, err)
		}
		total += len(r.letters)
		if damaged == nil {
			damaged = r.damaged
		}
		seqs = seqs[r.read:]
	}
	if damaged != nil {
		return total, fmt.Errorf("requeue dead letters of queue %s: %w", q.name, damaged)
	}
	return total, nil
}

// requeue is one step of Requeue.
type requeue struct {
	q       *Queue
	seqs    []uint64
	read    int // of seqs; fewer than all when they are large
	letters []exhumed
	damaged error
}

// exhumed is a dead letter that goes back into its queue.
type exhumed struct {
	seq  uint64
	part part
	size int64 // of the letter
}

// apply reads all letters before it changes the commit, so that an error leaves
// them where they are.
func (r *requeue) apply(c *commit) error {
	r.read, r.letters, r.damaged = 0, nil, nil
	if r.q.removed.Load() {
		r.read = len(r.seqs)
		return nil
	}
	area := c.area(r.q)
	seen := make(map[uint64]bool)
	for bytes := int64(0); r.read < len(r.seqs) && bytes < maxCommit; r.read++ {
		seq := r.seqs[r.read]
		if area.gone[seq] || seen[seq] {
			continue
		}
		seen[seq] = true
		l, err := r.q.exhume(seq)
		switch {
		case errors.Is(err, ErrDamaged):
			if r.damaged == nil {
				r.damaged = err
			}
		case err != nil:
			return err
		case l != nil:
			r.letters = append(r.letters, *l)
			bytes += l.size
		}
	}
	for i := range r.letters {
		c.revive(area, &r.letters[i])
	}
	return nil
}

// exhume makes a part of a dead letter, or nil if there is none.
func (q *Queue) exhume(seq uint64) (l *exhumed, err error) {
	key := seqKey(keyDead, q.id, seq)
	err = q.s.scan(key, key, func(it *badger.Item) (bool, error) {
		value, err := it.ValueCopy(nil)
		if err != nil {
			return false, err
		}
		d, e, err := parseLetter(key, value)
		if err != nil {
			return false, err
		}
		p := part{q: q, prio: d.Priority, requeue: true, value: e.append(make([]byte, blockHeader))}
		p.index.add(e.rule, len(p.value)-blockHeader, e.expires, d.Accepted)
		l = &exhumed{seq: seq, part: p, size: it.ValueSize()}
		return false, nil
	})
	return l, err
}

// revive moves one dead letter. Its queue may be on the way to be dropped: then
// the purge that follows finds the message in it.
func (c *commit) revive(area *buried, l *exhumed) {
	q := l.part.q
	area.gone[l.seq] = true
	area.add(-1, -l.size)
	c.del(seqKey(keyDead, q.id, l.seq))
	if c.unbury == nil {
		c.unbury = make(map[*Queue]map[uint32]uint64)
	}
	if c.unbury[q] == nil {
		c.unbury[q] = make(map[uint32]uint64)
	}
	c.unbury[q][l.part.index.rules[0].rule]++
	c.s.adjust(q, int64(l.part.index.bytes))
	c.revived = append(c.revived, &l.part)
	c.join(&l.part)
}
