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
		return d, e, fmt.Errorf("read dead letter %x: %w: %w", key, ErrDamaged, err)
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
	if b.bytes <= c.s.cfg.DeadBytes || c.trimmed >= trimRun {
		return
	}
	if err := c.trim(q, b); err != nil {
		c.s.log.Error("make room for dead letter", "queue", q.name, "err", err)
	}
	if c.trimmed >= trimRun {
		return // the sweep goes on
	}
	for len(b.fresh) > 1 && b.bytes > c.s.cfg.DeadBytes {
		p := &c.sets[b.fresh[0]]
		b.add(-1, -int64(len(p.value)))
		p.value = nil
		b.fresh = b.fresh[1:]
	}
}

// trim deletes the oldest dead letters on disk beyond the quota, at most trimRun
// in one commit.
func (c *commit) trim(q *Queue, b *buried) error {
	_, err := c.dropDead(q, b, func() bool {
		if b.bytes <= c.s.cfg.DeadBytes || c.trimmed >= trimRun {
			return false
		}
		c.trimmed++
		return true
	})
	return err
}

// trimDead brings the dead letters back below a quota that was lowered, or that
// one commit could not keep to.
func (q *Queue) trimDead() error {
	for {
		q.mu.Lock()
		before := q.dead.count
		over := q.dead.bytes > q.s.cfg.DeadBytes
		q.mu.Unlock()
		if !over {
			return nil
		}
		err := q.s.do(&op{weight: weight{trimRun, trimRun * 64}, eager: true, apply: func(c *commit) error { return c.trim(q, c.area(q)) }})
		if err != nil {
			return err
		}
		if n, _ := q.DeadCount(); n >= before {
			return nil
		}
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

// PurgeDead deletes all dead letters, which stay counted as buried, and returns
// how many there were. It waits for the commits.
func (q *Queue) PurgeDead() (int, error) {
	total := 0
	for {
		n := 0
		o := &op{eager: true, weight: weight{1024, 1024 * 64}}
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
