package ingress

import (
	"math/bits"
	"slices"
	"sort"
)

const (
	partSize = 1 << 16
	words    = partSize / 64

	// maxRuns is how many runs a part lists before it becomes a bitmap; a bitmap
	// that has come down to fewRuns becomes a list again.
	maxRuns = 1024
	fewRuns = maxRuns / 4

	partBytes = 96 // a part beside its runs or bitmap
)

// span is the places from to to of a part, both included.
type span struct{ from, to uint16 }

// part holds some of the sequences first·partSize+1 … (last+1)·partSize, or all.
// Unless it is full, first is last.
type part struct {
	first, last uint64
	full        bool           // and neither runs nor bits
	runs        []span         // ordered, with gaps between
	bits        *[words]uint64 // in place of runs
	held, nruns int            // of bits: places held, and runs they form
}

func (p *part) size() int {
	if p.bits != nil {
		return partBytes + words*8
	}
	return partBytes + 4*cap(p.runs)
}

// count returns how many sequences p holds.
func (p *part) count() uint64 {
	switch {
	case p.full:
		return (p.last - p.first + 1) * partSize
	case p.bits != nil:
		return uint64(p.held)
	}
	n := uint64(0)
	for _, r := range p.runs {
		n += uint64(r.to-r.from) + 1
	}
	return n
}

// find returns the index of the first span that ends at or after pos.
func (p *part) find(pos int) int {
	if n := len(p.runs); n == 0 || int(p.runs[n-1].to) < pos {
		return n
	}
	return sort.Search(len(p.runs), func(i int) bool { return int(p.runs[i].to) >= pos })
}

func (p *part) bit(pos int) bool {
	return pos >= 0 && pos < partSize && p.bits[pos/64]&(1<<(pos%64)) != 0
}

func (p *part) has(pos int) bool {
	switch {
	case p.full:
		return true
	case p.bits != nil:
		return p.bit(pos)
	}
	i := p.find(pos)
	return i < len(p.runs) && int(p.runs[i].from) <= pos
}

func (p *part) grows(pos int) bool {
	if p.full || p.bits != nil {
		return false
	}
	i := p.find(pos)
	beside := i < len(p.runs) && int(p.runs[i].from) <= pos+1 || i > 0 && int(p.runs[i-1].to)+1 == pos
	return !beside
}

// add puts pos into p and reports whether it was new.
func (p *part) add(pos int) bool {
	switch {
	case p.bits != nil:
		return p.addBit(pos)
	case p.full:
		return false
	}
	return p.addRun(pos)
}

func (p *part) addRun(pos int) bool {
	i := p.find(pos)
	if i < len(p.runs) && int(p.runs[i].from) <= pos {
		return false
	}
	before := i > 0 && int(p.runs[i-1].to)+1 == pos
	after := i < len(p.runs) && int(p.runs[i].from) == pos+1
	switch {
	case before && after:
		p.runs[i-1].to = p.runs[i].to
		p.runs = slices.Delete(p.runs, i, i+1)
	case before:
		p.runs[i-1].to = uint16(pos)
	case after:
		p.runs[i].from = uint16(pos)
	default:
		p.runs = slices.Insert(p.runs, i, span{uint16(pos), uint16(pos)})
	}
	switch {
	case len(p.runs) > maxRuns:
		p.toBits()
	case p.runs[0] == span{0, partSize - 1}:
		p.runs, p.full = nil, true
	}
	return true
}

func (p *part) addBit(pos int) bool {
	if p.bit(pos) {
		return false
	}
	p.bits[pos/64] |= 1 << (pos % 64)
	p.held++
	p.nruns++
	if p.bit(pos - 1) {
		p.nruns--
	}
	if p.bit(pos + 1) {
		p.nruns--
	}
	if p.nruns <= fewRuns {
		p.toRuns()
	}
	return true
}

func (p *part) toBits() {
	p.bits = new([words]uint64)
	for _, r := range p.runs {
		for pos := int(r.from); pos <= int(r.to); pos++ {
			p.bits[pos/64] |= 1 << (pos % 64)
		}
	}
	p.runs = nil
	p.measure()
}

// measure counts what the bitmap holds.
func (p *part) measure() {
	p.held, p.nruns = 0, 0
	last := uint64(0)
	for _, w := range p.bits {
		p.held += bits.OnesCount64(w)
		p.nruns += bits.OnesCount64(w &^ (w<<1 | last))
		last = w >> 63
	}
}

func (p *part) toRuns() {
	p.runs = make([]span, 0, p.nruns)
	base := p.first * partSize
	p.each(func(r Range) bool {
		p.runs = append(p.runs, span{uint16(r.From - base - 1), uint16(r.To - base - 1)})
		return true
	})
	p.bits, p.held, p.nruns = nil, 0, 0
	if p.runs[0] == (span{0, partSize - 1}) {
		p.runs, p.full = nil, true
	}
}

// each calls f with p's ranges in order until f returns false, and reports
// whether it never did.
func (p *part) each(f func(Range) bool) bool {
	base := p.first*partSize + 1
	switch {
	case p.full:
		return f(Range{base, (p.last + 1) * partSize})
	case p.bits == nil:
		for _, r := range p.runs {
			if !f(Range{base + uint64(r.from), base + uint64(r.to)}) {
				return false
			}
		}
		return true
	}
	for pos := p.next(0, true); pos < partSize; {
		end := p.next(pos, false)
		if !f(Range{base + uint64(pos), base + uint64(end) - 1}) {
			return false
		}
		pos = p.next(end, true)
	}
	return true
}

// next returns the first place from pos on whose bit is set, or is not.
func (p *part) next(pos int, set bool) int {
	for pos < partSize {
		w := p.bits[pos/64]
		if !set {
			w = ^w
		}
		if w >>= pos % 64; w != 0 {
			return pos + bits.TrailingZeros64(w)
		}
		pos = (pos/64 + 1) * 64
	}
	return partSize
}
