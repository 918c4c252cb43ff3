package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/binread"
)

// openBlock is what is known in memory of a block that is leased, partly
// settled, or settled and waiting for the commit that deletes it. All other
// blocks exist on disk only. Guarded by its queue's mu.
type openBlock struct {
	key   []byte // complete, with the index
	prio  uint8
	first uint64
	count uint32
	bytes uint32
	rules []ruleStat // count: what is not settled yet; bytes: of the whole block

	settled bitset
	closing bitset // settled by an operation the writer has not taken yet
	left    uint32 // messages not settled
	prefix  uint32 // positions settled from the front on, on disk
	onDisk  bool   // a part record of it exists
	dirty   bool   // waits for a commit

	at     uint32   // positions below are leased or settled
	off    int      // where the entry at `at` begins
	ruleOf []uint32 // rule per position below len; nil when the block has one rule
	tries  []uint16 // earlier leases per position; nil: none

	nextExpiry int64 // the sweep need not look before, Unix ms
}

func newOpenBlock(key []byte, prio uint8, first uint64, x *index) *openBlock {
	return &openBlock{
		key: slices.Clone(key), prio: prio, first: first, count: x.count, bytes: x.bytes,
		rules: slices.Clone(x.rules), left: x.count,
	}
}

// walk reads the entry at position i from r and remembers its rule.
func (b *openBlock) walk(i uint32, r *binread.Reader, e *entry) bool {
	e.read(r)
	if r.Bad {
		return false
	}
	if len(b.rules) > 1 && int(i) == len(b.ruleOf) {
		b.ruleOf = append(b.ruleOf, e.rule)
	}
	return true
}

// rule returns the rule of position i; ok is false if that is not known yet.
func (b *openBlock) rule(i uint32) (rule uint32, ok bool) {
	if len(b.rules) == 1 {
		return b.rules[0].rule, true
	}
	if int(i) < len(b.ruleOf) {
		return b.ruleOf[i], true
	}
	return 0, false
}

// leased reports whether a message of the block is out, or about to be settled.
func (b *openBlock) leased() bool {
	return b.settled.next(0, b.at, false) < b.at || b.closing.next(0, b.count, true) < b.count
}

// attempt returns the number of the lease of position i, from 1.
func (b *openBlock) attempt(i uint32) int {
	if int(i) < len(b.tries) {
		return int(b.tries[i]) + 1
	}
	return 1
}

// rewind forgets leases and returns how many messages wait again.
func (b *openBlock) rewind() (n int64) {
	for i := b.settled.next(0, b.at, false); i < b.at; i = b.settled.next(i+1, b.at, false) {
		for len(b.tries) <= int(i) {
			b.tries = append(b.tries, 0)
		}
		if b.tries[i] < 1<<16-1 {
			b.tries[i]++
		}
		if !b.closing.has(i) {
			n++
		}
	}
	b.at, b.off = 0, 0
	return n
}

// take removes n unsettled messages of rule from the block's remainder.
func (b *openBlock) take(rule, n uint32) {
	for i := range b.rules {
		if b.rules[i].rule == rule {
			b.rules[i].count -= n
		}
	}
	b.left -= n
}

// part encodes what is settled: runs, then per rule of the index what is left.
func (b *openBlock) part() []byte {
	v := b.settled.appendRuns(nil, b.count)
	for _, r := range b.rules {
		v = binary.AppendUvarint(v, uint64(r.count))
	}
	return v
}

// loadPart restores what part wrote.
func (b *openBlock) loadPart(v []byte) error {
	r := binread.Reader{B: v}
	b.settled = readRuns(&r, b.count)
	var left uint32
	for i := range b.rules {
		n := r.Uint32()
		if n > b.rules[i].count {
			r.Bad = true
		}
		b.rules[i].count = n
		left += n
	}
	if !r.Whole() || left == 0 || left != b.count-b.settled.len() {
		return fmt.Errorf("read what is settled of block %x: %w", b.key, ErrDamaged)
	}
	b.left, b.prefix, b.onDisk = left, b.settled.prefix(), true
	return nil
}
