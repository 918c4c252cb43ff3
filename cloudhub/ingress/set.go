package ingress

import (
	"slices"
	"sort"
)

// Range is the sequences From to To, both included.
type Range struct {
	From uint64
	To   uint64
}

// set holds sequences from 1 on. It is cut into parts of partSize sequences; each
// part takes the smaller form of what it holds (a list of runs, or a bitmap), and
// neighbouring parts without a gap are one entry. So a set without gaps is one
// entry however long, a set in which every second sequence is missing takes a bit
// a sequence, and adding never costs more than a part.
type set struct {
	parts []*part // by first, disjoint; full neighbours are joined
	n     uint64  // sequences held
	bytes int     // what the parts take, nearly
}

// find returns the index of the first part that ends at or after key.
func (s *set) find(key uint64) int {
	// Sequences arrive nearly in order: the answer is almost always the last
	// part or the end.
	if n := len(s.parts); n == 0 || s.parts[n-1].last < key {
		return n
	} else if s.parts[n-1].first <= key {
		return n - 1
	}
	return sort.Search(len(s.parts), func(i int) bool { return s.parts[i].last >= key })
}

// at returns the part that seq falls into, or nil, and seq's place in it.
func (s *set) at(seq uint64) (*part, int) {
	key, pos := (seq-1)/partSize, int((seq-1)%partSize)
	if i := s.find(key); i < len(s.parts) && s.parts[i].first <= key {
		return s.parts[i], pos
	}
	return nil, pos
}

func (s *set) has(seq uint64) bool {
	p, pos := s.at(seq)
	return seq != 0 && p != nil && p.has(pos)
}

// grows reports whether adding seq takes memory.
func (s *set) grows(seq uint64) bool {
	p, pos := s.at(seq)
	return p == nil || p.grows(pos)
}

// add puts seq, which is not 0, into the set and reports whether it was new.
func (s *set) add(seq uint64) bool {
	key, pos := (seq-1)/partSize, int((seq-1)%partSize)
	i := s.find(key)
	if i == len(s.parts) || s.parts[i].first > key {
		p := &part{first: key, last: key}
		s.parts = slices.Insert(s.parts, i, p)
		s.bytes += p.size()
	}
	p := s.parts[i]
	before := p.size()
	fresh := p.add(pos)
	s.bytes += p.size() - before
	if fresh {
		s.n++
		if p.full {
			s.join(i)
		}
	}
	return fresh
}

// join makes the full part i one with full neighbours.
func (s *set) join(i int) {
	if next := i + 1; next < len(s.parts) && s.parts[next].full && s.parts[next].first == s.parts[i].last+1 {
		s.parts[i].last = s.parts[next].last
		s.drop(next, next+1)
	}
	if prev := i - 1; prev >= 0 && s.parts[prev].full && s.parts[prev].last+1 == s.parts[i].first {
		s.parts[prev].last = s.parts[i].last
		s.drop(i, i+1)
	}
}

func (s *set) drop(from, to int) {
	for _, p := range s.parts[from:to] {
		s.bytes -= p.size()
	}
	s.parts = slices.Delete(s.parts, from, to)
}

// cut removes the parts below key and returns how many sequences they held.
func (s *set) cut(key uint64) (removed uint64) {
	i := 0
	for ; i < len(s.parts) && s.parts[i].last < key; i++ {
		removed += s.parts[i].count()
	}
	s.drop(0, i)
	if len(s.parts) > 0 && s.parts[0].first < key { // full parts, joined
		removed += (key - s.parts[0].first) * partSize
		s.parts[0].first = key
	}
	s.n -= removed
	return removed
}

// list returns at most limit ranges, of the sequences from from on, in order, and
// the sequence to go on with: 0 when there are no more.
func (s *set) list(from uint64, limit int) (rs []Range, next uint64) {
	rs = []Range{}
	from = max(from, 1)
	for i := s.find((from - 1) / partSize); i < len(s.parts); i++ {
		more := s.parts[i].each(func(r Range) bool {
			if r.To < from {
				return true
			}
			r.From = max(r.From, from)
			if n := len(rs); n > 0 && rs[n-1].To+1 == r.From {
				rs[n-1].To = r.To
				return true
			}
			if len(rs) == limit {
				next = r.From
				return false
			}
			rs = append(rs, r)
			return true
		})
		if !more {
			break
		}
	}
	return rs, next
}
