package ingress

import "slices"

// Range is the sequences From to To, both included.
type Range struct {
	From uint64
	To   uint64
}

// ranges is a set of sequences as ordered, disjoint, non-adjacent ranges.
type ranges []Range

// find returns the index of the first range that ends at or after seq.
func (r ranges) find(seq uint64) int {
	// Sequences arrive nearly in order: the answer is almost always the last
	// range or the end.
	if n := len(r); n == 0 || r[n-1].To < seq {
		return n
	} else if r[n-1].From <= seq {
		return n - 1
	}
	i, _ := slices.BinarySearchFunc(r, seq, func(a Range, seq uint64) int {
		if a.To < seq {
			return -1
		}
		return 1
	})
	return i
}

func (r ranges) has(seq uint64) bool {
	i := r.find(seq)
	return i < len(r) && r[i].From <= seq
}

// extends reports whether seq can be added without one more range.
func (r ranges) extends(seq uint64) bool {
	i := r.find(seq)
	return i < len(r) && r[i].From <= seq+1 || i > 0 && r[i-1].To+1 == seq
}

// add returns the set with seq in it and whether it was new.
func (r ranges) add(seq uint64) (ranges, bool) {
	i := r.find(seq)
	if i < len(r) && r[i].From <= seq {
		return r, false
	}
	before := i > 0 && r[i-1].To+1 == seq
	after := i < len(r) && r[i].From == seq+1
	switch {
	case before && after:
		r[i-1].To = r[i].To
		return slices.Delete(r, i, i+1), true
	case before:
		r[i-1].To = seq
	case after:
		r[i].From = seq
	default:
		r = slices.Insert(r, i, Range{seq, seq})
	}
	return r, true
}

func (r ranges) count() (n uint64) {
	for _, a := range r {
		n += a.To - a.From + 1
	}
	return n
}
