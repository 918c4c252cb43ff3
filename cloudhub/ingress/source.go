package ingress

import "github.com/penstock-io/penstock/message"

const (
	// maxSource bounds the memory of one epoch's sequences. Scattered as badly as
	// can be (every second one missing) that is 512 million sequences above the
	// floor: what an edge hub that drains its priority 0 first would have to have
	// waiting in one outage.
	maxSource = 64 << 20
	// softSource is what gaps below the floor may take before they are given up.
	softSource = 256 << 10
)

// source is what is known of one epoch of one edge hub.
//
// The set is the true one: what the ledger compares with the edge's. When it
// takes more than softSource, its parts that lie wholly below the floor are given
// up for one number, collapsed: nothing below the floor is sent again, so all up
// to it may count as known. Gaps above the floor are never given up, for that
// would refuse messages nobody has stored.
type source struct {
	device, epoch string
	set           set
	collapsed     uint64 // every sequence up to here counts as known
	collapsedHas  uint64 // how many of those are stored
	floor         uint64 // the highest floor the edge has stated
	duplicates    uint64
	last          uint64 // stream sequence of its newest message

	restored uint64  // messages refused with ErrRestored by this process
	contents history // of the newest messages stored by this process
}

func (s *source) has(seq uint64) bool { return seq <= s.collapsed || s.set.has(seq) }

// add notes that the stream holds o, and how many bytes more the set takes.
func (s *source) add(o message.Origin, streamSeq uint64) (grown int) {
	before := s.set.bytes
	s.last = max(s.last, streamSeq)
	s.raise(o.Floor)
	if o.Seq > s.collapsed {
		s.set.add(o.Seq)
	}
	if s.set.bytes > softSource {
		s.collapse()
	}
	return s.set.bytes - before
}

// raise takes note of a floor, the edge's word about its own queue.
func (s *source) raise(floor uint64) { s.floor = max(s.floor, floor) }

// collapse gives up the parts below the floor.
func (s *source) collapse() {
	if s.floor == 0 {
		return
	}
	key := (s.floor - 1) / partSize
	if s.collapsed >= key*partSize {
		return
	}
	s.collapsedHas += s.set.cut(key)
	s.collapsed = key * partSize
}

func (s *source) stored() uint64 { return s.collapsedHas + s.set.n }
