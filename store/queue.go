package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/internal/binread"
)

// Policy says what happens to a message for which its queue has no room.
type Policy uint8

const (
	// Reject refuses the new message with ErrQuota.
	Reject Policy = iota
	// DropOldest drops waiting messages, least urgent and oldest first, counted as
	// dropped "quota". What one commit wrote goes together; leased messages stay.
	// A queue may be above its limit by what one commit adds, and by its limit
	// again while leased messages keep dropped ones beside them on disk.
	DropOldest
)

// Lane is one of the two parts of a queue that Split made.
type Lane uint8

const (
	Backlog Lane = iota // below the boundary
	Live                // at or above it; everything in a queue that was not split
	lanes   = 2
)

// Queue is a durable queue. Its messages are numbered from 1 over all priorities
// in the order they became durable; priority 0 leaves first. All methods are
// safe for concurrent use.
type Queue struct {
	s    *Store
	id   uint32
	name string

	ready   chan struct{}
	used    atomic.Int64 // bytes of blocks, and of requests on their way
	bound   atomic.Pointer[bound]
	removed atomic.Bool // Drop was called
	deleted bool        // nothing of it is on disk any more; guarded by mu

	dropMu sync.Mutex // serialises attempts to drop the queue

	// leaseMu serialises whoever moves along the blocks and may read from disk
	// meanwhile: leases, sweeps, purges. It is taken before mu.
	leaseMu sync.Mutex
	mu      sync.Mutex // never held during I/O

	next    uint64 // the next sequence to be given
	onDisk  uint64 // next as the queue record on disk has it; 0: there is no record
	changed bool   // the queue record must be written
	split   uint64
	waiting [lanes][priorities]int64  // messages neither leased nor settled
	cursor  [lanes][priorities]uint64 // no waiting message of the lane is in a block that begins below
	blocks  int64                     // on disk
	open    []*openBlock              // ascending by first
	weight  int                       // of the open blocks
	// A block read from an older view of the disk may be gone: moved grows with
	// every deletion, lastGone is the highest deleted block.
	moved    uint64
	lastGone [lanes][priorities]uint64

	accounts map[uint32]*account
	except   exceptions
	dead     deadArea

	inDirty bool // the writer knows that something waits for a commit
	dirty   []*openBlock

	dirtyWeight int // of the dirty blocks

	sweepAt [priorities]uint64 // where the roving sweep goes on; guarded by leaseMu
}

func newQueue(s *Store, id uint32, name string) *Queue {
	q := &Queue{s: s, id: id, name: name, next: 1, ready: make(chan struct{}, 1), accounts: make(map[uint32]*account)}
	q.bound.Store(&bound{})
	return q
}

// bound is a queue's limit.
type bound struct {
	bytes  int64 // 0: none
	policy Policy
	own    bool // SetLimit's, not the configuration's
}

// configured asks the configuration for a queue's limit.
func (s *Store) configured(name string) *bound {
	n, p := s.cfg.Limit(name)
	return &bound{bytes: max(n, 0), policy: p}
}

// Name returns the queue's name.
func (q *Queue) Name() string { return q.name }

// Ready signals that a message may be waiting. One signal stands for any number
// of messages, and may come without one.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

func (q *Queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Head returns the sequence that the next message will get.
func (q *Queue) Head() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next
}

// Floor returns a sequence below which everything is settled on disk, so that no
// lower one will be leased again, not even after a crash. It may lag behind the
// lowest unsettled sequence until the settlement is durable.
func (q *Queue) Floor() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	floor := q.next
	if len(q.open) > 0 {
		floor = min(floor, q.open[0].first+uint64(q.open[0].prefix))
	}
	for l := range q.waiting {
		for p, n := range q.waiting[l] {
			if n > 0 {
				floor = min(floor, q.cursor[l][p])
			}
		}
	}
	return floor
}

// Waiting returns how many messages of the lane are neither leased nor settled.
func (q *Queue) Waiting(l Lane) (n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.waiting[l] {
		n += w
	}
	return n
}

// Split makes everything that is in the queue now its backlog, and everything
// that comes later live. Lease does not care; LeaseLane does.
func (q *Queue) Split() {
	q.leaseMu.Lock()
	defer q.leaseMu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range priorities {
		switch {
		case q.waiting[Live][p] == 0:
		case q.waiting[Backlog][p] == 0:
			q.cursor[Backlog][p] = q.cursor[Live][p]
		default:
			q.cursor[Backlog][p] = min(q.cursor[Backlog][p], q.cursor[Live][p])
		}
		q.waiting[Backlog][p] += q.waiting[Live][p]
		q.waiting[Live][p] = 0
		q.cursor[Live][p] = q.next
		q.lastGone[Backlog][p] = max(q.lastGone[Backlog][p], q.lastGone[Live][p])
	}
	q.split = q.next
}

// stale reports whether the block that begins at first, and is not open, may
// have been deleted since moved was read. Needs mu.
func (q *Queue) stale(first uint64, prio uint8, moved uint64) bool {
	return q.moved != moved && first <= q.lastGone[q.lane(first)][prio]
}

func (q *Queue) lane(first uint64) Lane {
	if first < q.split {
		return Backlog
	}
	return Live
}

// SetLimit gives the queue a bound of its own, which is kept across restarts in
// place of the configuration's; 0 bytes, whatever the policy, means the
// configuration's again.
func (q *Queue) SetLimit(maxBytes int64, p Policy) {
	b := &bound{bytes: maxBytes, policy: p, own: true}
	if maxBytes <= 0 {
		b = q.s.configured(q.name)
	}
	q.mu.Lock()
	if *q.bound.Load() == *b {
		q.mu.Unlock()
		return
	}
	q.bound.Store(b)
	q.changed = true
	q.mu.Unlock()
	q.touch()
}

// touch tells the writer that the queue has something to write.
func (q *Queue) touch() {
	q.mu.Lock()
	known := q.inDirty
	q.inDirty = true
	q.mu.Unlock()
	if !known {
		q.s.in.addDirty(q)
	}
}

// find returns the open block that holds seq and the position in it. Needs mu.
func (q *Queue) find(seq uint64) (*openBlock, uint32) {
	i, ok := slices.BinarySearchFunc(q.open, seq, compareFirst)
	if !ok {
		i--
	}
	if i < 0 || seq-q.open[i].first >= uint64(q.open[i].count) {
		return nil, 0
	}
	return q.open[i], uint32(seq - q.open[i].first)
}

// at returns the open block that begins at first, or nil. Needs mu.
func (q *Queue) at(first uint64) *openBlock {
	if i, ok := slices.BinarySearchFunc(q.open, first, compareFirst); ok {
		return q.open[i]
	}
	return nil
}

func (q *Queue) insert(b *openBlock) {
	i, _ := slices.BinarySearchFunc(q.open, b.first, compareFirst)
	q.open = slices.Insert(q.open, i, b)
	q.weight += b.weight()
}

func compareFirst(b *openBlock, first uint64) int {
	switch {
	case b.first < first:
		return -1
	case b.first > first:
		return 1
	}
	return 0
}

// lowest returns a sequence below which no block of the priority begins: where
// reading starts, past the tombstones of what was consumed. Needs mu.
func (q *Queue) lowest(prio uint8) uint64 {
	low := q.next
	for _, b := range q.open {
		if b.prio == prio {
			low = b.first
			break
		}
	}
	for l := range q.waiting {
		if q.waiting[l][prio] > 0 {
			low = min(low, q.cursor[l][prio])
		}
	}
	return low
}

func (q *Queue) account(rule uint32) *account {
	a := q.accounts[rule]
	if a == nil {
		a = new(account)
		q.accounts[rule] = a
	}
	return a
}

// queueRecord is what the key of a queue holds.
type queueRecord struct {
	name    string
	next    uint64
	limit   int64  // the queue's own; 0: the configuration's, and so is the policy
	policy  Policy // of that limit
	removed bool   // Drop has begun
}

func (r *queueRecord) append(dst []byte) []byte {
	flags := byte(r.policy)
	if r.removed {
		flags |= 2
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, r.next)
	dst = binary.AppendUvarint(dst, uint64(r.limit))
	return binread.Append(dst, r.name)
}

func (r *queueRecord) parse(b []byte) error {
	if len(b) == 0 || b[0] > 3 {
		return fmt.Errorf("read queue record: %w", ErrDamaged)
	}
	r.policy, r.removed = Policy(b[0]&1), b[0]&2 != 0
	d := binread.Reader{B: b[1:]}
	r.next, r.limit, r.name = d.Uvarint(), int64(d.Uvarint()), d.String()
	if !d.Whole() {
		return fmt.Errorf("read queue record: %w", ErrDamaged)
	}
	return nil
}

func (q *Queue) record() queueRecord {
	r := queueRecord{name: q.name, next: q.next, removed: q.removed.Load()}
	if b := q.bound.Load(); b.own {
		r.limit, r.policy = b.bytes, b.policy
	}
	return r
}
