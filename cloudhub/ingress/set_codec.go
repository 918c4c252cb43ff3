package ingress

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/binread"
)

// Forms of a part in a snapshot.
const (
	formFull = iota
	formRuns
	formBits
)

// maxPart is the number of the last part there can be.
const maxPart = (1<<64 - 1) / partSize

func (s *set) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.parts)))
	prev := uint64(0)
	for _, p := range s.parts {
		b = p.encode(binary.AppendUvarint(b, p.first-prev))
		prev = p.last
	}
	return b
}

func (p *part) encode(b []byte) []byte {
	switch {
	case p.full:
		return binary.AppendUvarint(append(b, formFull), p.last-p.first)
	case p.bits != nil:
		b = append(b, formBits)
		for _, w := range p.bits {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		return b
	}
	b = binary.AppendUvarint(append(b, formRuns), uint64(len(p.runs)))
	prev := uint16(0)
	for _, r := range p.runs {
		b = binary.AppendUvarint(b, uint64(r.from-prev))
		b = binary.AppendUvarint(b, uint64(r.to-r.from))
		prev = r.to
	}
	return b
}

// decode fills an empty set. What breaks its order or the bounds of a part makes
// r bad.
func (s *set) decode(r *binread.Reader) {
	prev := uint64(0)
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		gap := r.Uvarint()
		p := &part{first: prev + gap, last: prev + gap}
		if p.first > maxPart || p.first < prev || len(s.parts) > 0 && gap == 0 {
			r.Fail()
			return
		}
		p.decode(r)
		if r.Bad || p.last == maxPart && p.has(partSize-1) { // no sequence has that number
			r.Fail()
			return
		}
		prev = p.last
		s.parts = append(s.parts, p)
		s.bytes += p.size()
		s.n += p.count()
		if p.full {
			s.join(len(s.parts) - 1)
		}
	}
}

func (p *part) decode(r *binread.Reader) {
	switch r.Byte() {
	case formFull:
		p.full = true
		if n := r.Uvarint(); n < maxPart-p.first {
			p.last += n
			return
		}
	case formRuns:
		if p.decodeRuns(r) {
			return
		}
	case formBits:
		p.bits = new([words]uint64)
		for i, b := 0, r.Take(words*8); i < words && !r.Bad; i++ {
			p.bits[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
		if p.measure(); p.held > 0 && p.held < partSize {
			return
		}
	}
	r.Fail()
}

func (p *part) decodeRuns(r *binread.Reader) bool {
	n, prev := r.Uvarint(), uint64(0)
	if n == 0 || n > maxRuns {
		return false
	}
	p.runs = make([]span, 0, n)
	for ; n > 0; n-- {
		gap, length := r.Uvarint(), r.Uvarint()
		if gap >= partSize || length >= partSize || prev+gap+length >= partSize || len(p.runs) > 0 && gap < 2 || r.Bad {
			return false
		}
		p.runs = append(p.runs, span{uint16(prev + gap), uint16(prev + gap + length)})
		prev += gap + length
	}
	return p.runs[0] != span{0, partSize - 1}
}
