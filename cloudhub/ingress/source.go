package ingress

import "github.com/penstock-io/penstock/message"

// maxRanges bounds the ranges held for one epoch, and so the gaps it may leave.
const maxRanges = 4096

// source is what is known of one epoch of one edge hub.
//
// The ranges are the true ones: what the ledger compares with the edge's. When
// there are more than maxRanges, the oldest ones that lie wholly below the floor
// are given up for one number, collapsed: nothing below the floor is sent again,
// so all up to it may count as known. Gaps above the floor are never given up,
// for that would refuse messages nobody has stored.
type source struct {
	device, epoch string
	ranges        ranges
	collapsed     uint64 // every sequence up to here counts as known
	collapsedHas  uint64 // how many of those are stored
	floor         uint64 // the highest floor the edge has stated
	duplicates    uint64
	last          uint64 // stream sequence of its newest message
}

func (s *source) has(seq uint64) bool { return seq <= s.collapsed || s.ranges.has(seq) }

// admits reports whether o may be added within the bound on ranges.
func (s *source) admits(o message.Origin) bool {
	if len(s.ranges) < maxRanges || s.ranges.extends(o.Seq) {
		return true
	}
	s.raise(o.Floor)
	s.collapse()
	return len(s.ranges) < maxRanges
}

func (s *source) add(o message.Origin, streamSeq uint64) {
	s.last = max(s.last, streamSeq)
	s.raise(o.Floor)
	if o.Seq > s.collapsed {
		s.ranges, _ = s.ranges.add(o.Seq)
	}
	if len(s.ranges) > maxRanges {
		s.collapse()
	}
}

// raise takes note of a floor. A floor is the edge's word about its own queue;
// it serves only to decide which gaps may be forgotten.
func (s *source) raise(floor uint64) { s.floor = max(s.floor, floor) }

// collapse gives up the older half of the ranges, as far as the floor allows.
func (s *source) collapse() {
	n := 0
	for n < len(s.ranges)/2 && s.ranges[n].To < s.floor {
		n++
	}
	if n == 0 {
		return
	}
	s.collapsed = s.ranges[n-1].To
	s.collapsedHas += s.ranges[:n].count()
	s.ranges = append(ranges(nil), s.ranges[n:]...)
}

func (s *source) stored() uint64 { return s.collapsedHas + s.ranges.count() }
