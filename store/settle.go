package store

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/internal/binread"
	"github.com/penstock-io/penstock/message"
)

// Settle says how a leased message left the queue; cause matters for Dropped and
// Buried. It returns at once and is durable within Config.SettleDelay; records
// given with it are written in the same commit as the settlement, in the order
// of all records written to the store. Order does not matter; a sequence that is
// not leased or is settled already is ignored, but its records are written.
func (q *Queue) Settle(seq uint64, o message.Outcome, cause string, with ...message.Record) {
	if o == message.Buried || len(with) > 0 {
		q.settleWith(seq, o, cause, with)
		return
	}
	q.mu.Lock()
	touched := q.settleSeq(seq, o, cause)
	q.mu.Unlock()
	if touched {
		q.touch()
	}
}

// SettleAll settles many messages as delivered.
func (q *Queue) SettleAll(seqs []uint64) {
	touched := false
	q.mu.Lock()
	for _, seq := range seqs {
		if q.settleSeq(seq, message.Delivered, "") {
			touched = true
		}
	}
	q.mu.Unlock()
	if touched {
		q.touch()
	}
}

// Flush calls done once everything settled before is durable, or with the
// reason why it is not. done must not block.
func (q *Queue) Flush(done func(error)) {
	q.s.in.put(&op{eager: true, queues: []*Queue{q}, done: done})
}

// settleSeq settles one message that was leased at some time. Needs mu.
func (q *Queue) settleSeq(seq uint64, o message.Outcome, cause string) bool {
	b, i := q.find(seq)
	if b == nil || b.settled.has(i) || b.closing.has(i) {
		return false
	}
	rule, ok := b.rule(i)
	if !ok {
		return false
	}
	if i >= b.at {
		q.waiting[q.lane(b.first)][b.prio]--
	}
	q.settle(b, i, rule, o, cause)
	return true
}

// settle moves one message from queued to its outcome. Needs mu.
func (q *Queue) settle(b *openBlock, i, rule uint32, o message.Outcome, cause string) {
	b.settled.set(i)
	b.take(rule, 1)
	q.book(rule, o, cause, 1)
	if o != message.Delivered {
		seq := b.first + uint64(i)
		q.except.add(seq, seq, reasonOf(o, cause))
	}
	q.mark(b)
}

func (q *Queue) book(rule uint32, o message.Outcome, cause string, n uint64) {
	a := q.account(rule)
	a.queued -= int64(n)
	a.out.add(o, reasonOf(o, cause), n)
	a.outDirty = true
}

// mark puts the block on the list for the next commit.
func (q *Queue) mark(b *openBlock) {
	if !b.dirty {
		b.dirty = true
		q.dirty = append(q.dirty, b)
		q.dirtyWeight += b.weight()
	}
}

// settleWith settles together with records or a dead letter. The message is
// taken out of reach at once; the writer settles it when the operation's turn
// comes, so that records keep their order.
func (q *Queue) settleWith(seq uint64, o message.Outcome, cause string, with []message.Record) {
	var letter *DeadLetter
	if o == message.Buried {
		letter = q.letter(seq, cause)
	}
	q.mu.Lock()
	b, i := q.find(seq)
	fresh := b != nil && !b.settled.has(i) && !b.closing.has(i)
	if fresh {
		b.closing.set(i)
		if i >= b.at {
			q.waiting[q.lane(b.first)][b.prio]--
		}
	}
	q.mu.Unlock()
	if !fresh && len(with) == 0 {
		return
	}
	x := q.closing(with)
	if letter != nil && fresh {
		x.bytes += int64(len(letter.value))
		x.weight = x.weight.plus(pairWeight(13, len(letter.value)))
	}
	settled := false // by us, in this commit or in an earlier one that failed
	x.apply = func(c *commit) error {
		if fresh {
			settled, fresh = q.close(seq, o, cause), false
		}
		if settled && letter != nil {
			c.bury(q, letter)
		}
		return nil
	}
	q.s.in.put(x)
}

// closing is the operation of settleWith. Records that cannot be written are left
// out: the settlement matters more, and nobody waits for an error.
func (q *Queue) closing(with []message.Record) *op {
	x := &op{keep: true, records: with, queues: []*Queue{q}, bytes: recordBytes(with)}
	x.weigh()
	err := error(nil)
	for i := range with {
		err = cmp.Or(err, checkRecord(&with[i]))
	}
	if err == nil && !x.weight.half() {
		err = ErrTooLarge
	}
	if err != nil {
		q.s.log.Error("settle message without its records", "queue", q.name, "records", len(with), "err", err)
		*x = op{keep: true, queues: x.queues}
	}
	x.weight = x.weight.plus(weight{3, 256})
	return x
}

// close settles a message that settleWith reserved; false if something else has
// settled it meanwhile.
func (q *Queue) close(seq uint64, o message.Outcome, cause string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b, i := q.find(seq)
	if b == nil || !b.closing.has(i) {
		return false // purged
	}
	b.closing.clear(i)
	rule, ok := b.rule(i)
	if !ok || b.settled.has(i) {
		return false
	}
	q.settle(b, i, rule, o, cause)
	return true
}

// retire settles everything of a block that no longer deserves delivery, leased
// or not. x is the block's index. Needs leaseMu, and mu must be free.
func (q *Queue) retire(key []byte, x *index, o message.Outcome, cause string) {
	_, prio, first, _, err := parseBlockKey(key)
	if err != nil {
		return
	}
	q.mu.Lock()
	q.retireLocked(key, prio, first, x, o, cause)
	q.mu.Unlock()
	q.touch()
}

func (q *Queue) retireLocked(key []byte, prio uint8, first uint64, x *index, o message.Outcome, cause string) {
	b := q.at(first)
	if b == nil {
		b = newOpenBlock(key, prio, first, x)
		q.insert(b)
	}
	if b.left == 0 {
		return
	}
	for i := b.settled.next(0, b.count, false); i < b.count; {
		end := b.settled.next(i, b.count, true)
		if o != message.Delivered {
			q.except.add(first+uint64(i), first+uint64(end)-1, reasonOf(o, cause))
		}
		for ; i < end; i++ {
			if i >= b.at && !b.closing.has(i) {
				q.waiting[q.lane(first)][prio]--
			}
			b.settled.set(i)
		}
		i = b.settled.next(end, b.count, false)
	}
	for _, r := range b.rules {
		if r.count > 0 {
			q.book(r.rule, o, cause, uint64(r.count))
			b.take(r.rule, r.count)
		}
	}
	b.closing = nil
	q.mark(b)
}

// entryAt reads one message of an open block from wherever it is.
func (q *Queue) entryAt(seq uint64) (prio uint8, e entry, err error) {
	q.mu.Lock()
	b, i := q.find(seq)
	var key []byte
	if b != nil {
		key = b.key
	}
	q.mu.Unlock()
	if b == nil {
		return 0, e, ErrNotFound
	}
	var value []byte
	err = q.s.scan(key, key, func(it *badger.Item) (bool, error) {
		value, err = it.ValueCopy(nil)
		return false, err
	})
	if err == nil && value == nil {
		err = ErrNotFound
	}
	if err != nil {
		return 0, e, err
	}
	entries, err := entriesOf(key[:blockPrefix], value)
	if err != nil {
		return 0, e, err
	}
	rd := binread.Reader{B: entries}
	for range i + 1 {
		e.read(&rd)
	}
	if rd.Bad {
		return 0, e, ErrDamaged
	}
	return b.prio, e, nil
}

// letter copies a message for the dead letters; nil if it is not there.
func (q *Queue) letter(seq uint64, cause string) *DeadLetter {
	prio, e, err := q.entryAt(seq)
	if err != nil {
		if !errors.Is(err, ErrNotFound) {
			q.s.log.Error("copy message to dead letters", "queue", q.name, "seq", seq, "err", err)
		}
		return nil
	}
	d := &DeadLetter{Cause: truncate(cause, maxName), Buried: q.s.now()}
	d.Seq, d.Priority, d.Expire, d.Meta = seq, prio, e.expires, e.meta
	d.value = sealed(seqKey(keyDead, q.id, seq), d.encode(&e))
	return d
}

func truncate(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

func recordBytes(rs []message.Record) (n int64) {
	for _, r := range rs {
		n += int64(len(r.Bucket) + len(r.Key) + len(r.Value))
	}
	return n
}

// checkRecord refuses what could not be written or read back.
func checkRecord(r *message.Record) error {
	switch {
	case r.Bucket == "" || len(r.Bucket)+len(r.Key) > maxKey || hasNUL(r.Bucket):
		return fmt.Errorf("record %q in bucket %q: %w", truncate(r.Key, 64), truncate(r.Bucket, 64), ErrName)
	case len(r.Value) > MaxRecord:
		return fmt.Errorf("record %q in bucket %q: %d bytes: %w", truncate(r.Key, 64), r.Bucket, len(r.Value), ErrTooLarge)
	}
	return nil
}
