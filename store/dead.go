package store

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/internal/binread"
	"github.com/penstock-io/penstock/message"
)

// DeadLetter is a message that was buried. Its sequence is its id.
type DeadLetter struct {
	message.Delivery
	Cause  string
	Buried int64 // Unix milliseconds

	value []byte // as written
}

// deadArea counts a queue's dead letters; only the writer changes it. Guarded by mu.
type deadArea struct {
	count int64
	bytes int64
	low   uint64 // no dead letter has a lower sequence
}

func (d *DeadLetter) encode(e *entry) []byte {
	v := binary.AppendUvarint(nil, uint64(d.Buried))
	v = binread.Append(v, d.Cause)
	v = append(v, d.Priority)
	return e.append(v)
}

// parseLetter reads a dead letter's value.
func parseLetter(key, value []byte) (d DeadLetter, e entry, err error) {
	b, err := unseal(key, value)
	if err != nil {
		return d, e, err
	}
	r := binread.Reader{B: b}
	d.Buried, d.Cause = int64(r.Uvarint()), r.String()
	if len(r.B) == 0 || r.B[0] >= priorities {
		return d, e, fmt.Errorf("read dead letter %x: %w", key, ErrDamaged)
	}
	prio := r.B[0]
	r.B = r.B[1:]
	e.read(&r)
	if !r.Whole() {
		return d, e, fmt.Errorf("read dead letter %x: %w", key, ErrDamaged)
	}
	if d.Message, err = message.Decode(e.data); err != nil {
		return d, e, err
	}
	d.Seq, d.Priority = binary.BigEndian.Uint64(key[5:]), prio
	d.Expire, d.Meta, d.value = e.expires, e.meta, value
	return d, e, nil
}

// Dead returns up to limit dead letters with a sequence of at least from, oldest first.
func (q *Queue) Dead(from uint64, limit int) ([]DeadLetter, error) {
	var found []DeadLetter
	q.mu.Lock()
	from = max(from, q.dead.low)
	q.mu.Unlock()
	err := q.s.scan(seqKey(keyDead, q.id, from), queueKey(keyDead, q.id), func(it *badger.Item) (bool, error) {
		value, err := it.ValueCopy(nil)
		if err != nil {
			return false, err
		}
		d, e, err := parseLetter(it.KeyCopy(nil), value)
		if err != nil {
			return false, err
		}
		d.Rule = q.s.rules.name(e.rule)
		found = append(found, d)
		return len(found) < limit, nil
	})
	if err != nil {
		return found, fmt.Errorf("read dead letters of queue %s: %w", q.name, err)
	}
	return found, nil
}

// DeadCount returns how many dead letters the queue has and their bytes.
func (q *Queue) DeadCount() (n, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dead.count, q.dead.bytes
}

// buried is what a commit does to one queue's dead letters.
type buried struct {
	deadArea
	fresh []int           // those it adds, as positions in commit.sets
	least uint64          // the lowest sequence it adds
	gone  map[uint64]bool // those it deletes
}

// area returns the queue's dead letters as the commit will leave them.
func (c *commit) area(q *Queue) *buried {
	if b := c.dead[q]; b != nil {
		return b
	}
	q.mu.Lock()
	b := &buried{deadArea: q.dead, least: math.MaxUint64, gone: make(map[uint64]bool)}
	q.mu.Unlock()
	if b.count == 0 {
		b.low = math.MaxUint64
	}
	if c.dead == nil {
		c.dead = make(map[*Queue]*buried)
	}
	c.dead[q] = b
	c.then(func() {
		q.mu.Lock()
		q.dead = b.deadArea
		q.dead.low = min(b.low, b.least)
		q.mu.Unlock()
	})
	return b
}

// bury writes a dead letter; beyond the quota the oldest make room.
func (c *commit) bury(q *Queue, d *DeadLetter) {
	b := c.area(q)
	b.least = min(b.least, d.Seq)
	b.fresh = append(b.fresh, len(c.sets))
	c.set(seqKey(keyDead, q.id, d.Seq), d.value)
	b.add(1, int64(len(d.value)))
	if b.bytes <= c.s.cfg.DeadBytes {
		return
	}
	if _, err := c.dropDead(q, b, func() bool { return b.bytes > c.s.cfg.DeadBytes }); err != nil {
		c.s.log.Error("make room for dead letter", "queue", q.name, "err", err)
	}
	for len(b.fresh) > 1 && b.bytes > c.s.cfg.DeadBytes {
		p := &c.sets[b.fresh[0]]
		b.add(-1, -int64(len(p.value)))
		p.value = nil
		b.fresh = b.fresh[1:]
	}
}

// dropDead deletes the oldest dead letters on disk while more says so.
func (c *commit) dropDead(q *Queue, b *buried, more func() bool) (n int, err error) {
	err = c.s.scan(seqKey(keyDead, q.id, b.low), queueKey(keyDead, q.id), func(it *badger.Item) (bool, error) {
		if !more() {
			return false, nil
		}
		seq := binary.BigEndian.Uint64(it.Key()[5:])
		b.low = seq + 1
		if !b.gone[seq] {
			b.gone[seq] = true
			c.del(it.KeyCopy(nil))
			b.add(-1, -it.ValueSize())
			n++
		}
		return true, nil
	})
	return n, err
}

func (d *deadArea) add(n, bytes int64) { d.count, d.bytes = d.count+n, d.bytes+bytes }

// Requeue puts dead letters back into their queue under new sequences, keeping
// rule, priority and time to live, and returns how many there were. It waits for
// the commit. Quotas do not apply: the messages were accepted long ago.
func (q *Queue) Requeue(seqs ...uint64) (int, error) {
	total := 0
	for len(seqs) > 0 {
		n := min(len(seqs), 256)
		moved, err := q.requeue(seqs[:n])
		total += moved
		if err != nil {
			return total, fmt.Errorf("requeue dead letters of queue %s: %w", q.name, err)
		}
		seqs = seqs[n:]
	}
	return total, nil
}

func (q *Queue) requeue(seqs []uint64) (moved int, err error) {
	o := &op{queues: []*Queue{q}, eager: true, entries: 2*len(seqs) + 64, lsm: txnBytes / 2}
	o.apply = func(c *commit) error {
		area := c.area(q)
		for _, seq := range seqs {
			if area.gone[seq] {
				continue
			}
			p, size, err := q.exhume(c, seq)
			if err != nil {
				return err
			}
			if p == nil {
				continue
			}
			area.gone[seq] = true
			o.parts = append(o.parts, *p)
			area.add(-1, -size)
			moved++
		}
		for i := range o.parts {
			c.s.adjust(q, int64(o.parts[i].index.bytes))
		}
		return nil
	}
	return moved, q.s.do(o)
}

// exhume makes a part of a dead letter, or nil if there is none.
func (q *Queue) exhume(c *commit, seq uint64) (p *part, size int64, err error) {
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
		p = &part{q: q, prio: d.Priority, requeue: true, value: e.append(make([]byte, blockHeader))}
		p.index.add(e.rule, len(p.value)-blockHeader, e.expires, d.Accepted)
		size = it.ValueSize()
		c.del(key)
		if c.unbury == nil {
			c.unbury = make(map[*Queue]map[uint32]uint64)
		}
		if c.unbury[q] == nil {
			c.unbury[q] = make(map[uint32]uint64)
		}
		c.unbury[q][e.rule]++
		return false, nil
	})
	return p, size, err
}

// PurgeDead deletes all dead letters, which stay counted as buried, and returns
// how many there were. It waits for the commits.
func (q *Queue) PurgeDead() (int, error) {
	total := 0
	for {
		n := 0
		o := &op{eager: true, entries: 1024}
		o.apply = func(c *commit) (err error) {
			left := 1024
			n, err = c.dropDead(q, c.area(q), func() bool { left--; return left >= 0 })
			return err
		}
		if err := q.s.do(o); err != nil {
			return total, fmt.Errorf("purge dead letters of queue %s: %w", q.name, err)
		}
		if n == 0 {
			return total, nil
		}
		total += n
	}
}
