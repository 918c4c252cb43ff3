package store

import (
	"encoding/binary"
	"fmt"

	"github.com/penstock-io/penstock/internal/binread"
)

// The first byte of every key.
const (
	keyStore   = 'F' // the store's own record
	keyRule    = 'n' // rule id → name
	keyQueue   = 'q' // queue id → queue record
	keyIn      = 'a' // queue, rule → accepted
	keyOut     = 'o' // queue, rule → delivered, expired, buried, dropped
	keyBlock   = 'b' // queue, priority, first sequence, index → block
	keyPart    = 's' // queue, priority, first sequence → what is settled of a block
	keyDead    = 'd' // queue, sequence → dead letter
	keyExcept  = 'x' // queue → sequences that were not delivered
	keyRecord  = 'r' // bucket, 0, key → record
	keyFlush   = 'z' // written and dropped to make Badger flush a memtable
	priorities = 11  // 0 … 9 and message.PriorityNone
)

const blockPrefix = 1 + 4 + 1 + 8

func queueKey(tag byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{tag}, id)
}

func ruleKey(tag byte, queue, rule uint32) []byte {
	return binary.BigEndian.AppendUint32(queueKey(tag, queue), rule)
}

func seqKey(tag byte, queue uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(queueKey(tag, queue), seq)
}

func prioKey(tag byte, queue uint32, prio uint8) []byte {
	return append(queueKey(tag, queue), prio)
}

func blockKey(tag byte, queue uint32, prio uint8, first uint64) []byte {
	return binary.BigEndian.AppendUint64(prioKey(tag, queue, prio), first)
}

func recordKey(bucket, key string) []byte {
	k := make([]byte, 0, 2+len(bucket)+len(key))
	k = append(k, keyRecord)
	k = append(k, bucket...)
	k = append(k, 0)
	return append(k, key...)
}

// parseBlockKey reads what blockKey wrote and returns what follows it.
func parseBlockKey(k []byte) (queue uint32, prio uint8, first uint64, rest []byte, err error) {
	if len(k) < blockPrefix || k[5] >= priorities {
		return 0, 0, 0, nil, fmt.Errorf("read block key %x: %w", k, ErrDamaged)
	}
	return binary.BigEndian.Uint32(k[1:]), k[5], binary.BigEndian.Uint64(k[6:]), k[blockPrefix:], nil
}

// ruleStat is one rule's share of a block.
type ruleStat struct {
	rule  uint32
	count uint32
	bytes uint32
}

// index is what a block's key says about its value, so that opening a store, and
// expiry, read no values.
type index struct {
	count    uint32
	bytes    uint32 // of the entries
	earliest int64  // the first expiry in it, Unix ms; 0: nothing expires
	latest   int64  // the last expiry; 0: something never expires
	oldest   int64  // the earliest accept time, Unix ms
	rules    []ruleStat
}

func (x *index) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(x.count))
	dst = binary.AppendUvarint(dst, uint64(x.bytes))
	dst = binary.AppendUvarint(dst, uint64(x.earliest))
	dst = binary.AppendUvarint(dst, uint64(x.latest))
	dst = binary.AppendUvarint(dst, uint64(x.oldest))
	dst = binary.AppendUvarint(dst, uint64(len(x.rules)))
	for _, r := range x.rules {
		dst = binary.AppendUvarint(dst, uint64(r.rule))
		dst = binary.AppendUvarint(dst, uint64(r.count))
		dst = binary.AppendUvarint(dst, uint64(r.bytes))
	}
	return dst
}

// parse reads an index that fills b completely, reusing x.rules.
func (x *index) parse(b []byte) error {
	r := binread.Reader{B: b}
	x.count, x.bytes = r.Uint32(), r.Uint32()
	x.earliest, x.latest, x.oldest = int64(r.Uvarint()), int64(r.Uvarint()), int64(r.Uvarint())
	n := r.Uvarint()
	if n > uint64(len(r.B))/3 {
		r.Bad = true
	}
	x.rules = x.rules[:0]
	var count, bytes uint64
	for i := uint64(0); i < n && !r.Bad; i++ {
		s := ruleStat{rule: r.Uint32(), count: r.Uint32(), bytes: r.Uint32()}
		count, bytes = count+uint64(s.count), bytes+uint64(s.bytes)
		x.rules = append(x.rules, s)
	}
	if r.Bad || len(r.B) != 0 || x.count == 0 || count != uint64(x.count) || bytes != uint64(x.bytes) {
		return fmt.Errorf("read block index %x: %w", b, ErrDamaged)
	}
	return nil
}

// add counts one entry of n bytes.
func (x *index) add(rule uint32, n int, expires, accepted int64) {
	if x.count == 0 {
		x.earliest, x.latest, x.oldest = expires, expires, accepted
	}
	x.join(1, uint32(n), expires, expires, accepted)
	x.rule(ruleStat{rule, 1, uint32(n)})
}

// merge counts another block's entries.
func (x *index) merge(y *index) {
	if x.count == 0 {
		x.earliest, x.latest, x.oldest = y.earliest, y.latest, y.oldest
	}
	x.join(y.count, y.bytes, y.earliest, y.latest, y.oldest)
	for _, r := range y.rules {
		x.rule(r)
	}
}

func (x *index) join(count, bytes uint32, earliest, latest, oldest int64) {
	x.count += count
	x.bytes += bytes
	if earliest != 0 && (x.earliest == 0 || earliest < x.earliest) {
		x.earliest = earliest
	}
	if latest == 0 || x.latest == 0 {
		x.latest = 0
	} else {
		x.latest = max(x.latest, latest)
	}
	x.oldest = min(x.oldest, oldest)
}

func (x *index) rule(s ruleStat) {
	for i := range x.rules {
		if x.rules[i].rule == s.rule {
			x.rules[i].count += s.count
			x.rules[i].bytes += s.bytes
			return
		}
	}
	x.rules = append(x.rules, s)
}

// expired reports whether every message of the block has expired at now.
func (x *index) expired(now int64) bool { return x.latest != 0 && x.latest <= now }
