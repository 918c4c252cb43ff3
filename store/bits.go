package store

import (
	"encoding/binary"
	"math/bits"

	"github.com/penstock-io/penstock/internal/binread"
)

// bitset is a set of positions within one block; nil is empty.
type bitset []uint64

func (b bitset) has(i uint32) bool {
	w := int(i >> 6)
	return w < len(b) && b[w]&(1<<(i&63)) != 0
}

func (b *bitset) set(i uint32) {
	for int(i>>6) >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[i>>6] |= 1 << (i & 63)
}

func (b bitset) clear(i uint32) {
	if w := int(i >> 6); w < len(b) {
		b[w] &^= 1 << (i & 63)
	}
}

func (b bitset) len() (n uint32) {
	for _, w := range b {
		n += uint32(bits.OnesCount64(w))
	}
	return n
}

// prefix returns how many positions from 0 on are in the set without a gap.
func (b bitset) prefix() uint32 {
	for i, w := range b {
		if w != ^uint64(0) {
			return uint32(i*64 + bits.TrailingZeros64(^w))
		}
	}
	return uint32(len(b) * 64)
}

// next returns the first position at or after i whose membership is in, or n.
func (b bitset) next(i, n uint32, in bool) uint32 {
	for ; i < n; i++ {
		if i&63 == 0 {
			w := uint64(0)
			if int(i>>6) < len(b) {
				w = b[i>>6]
			}
			if in && w == 0 || !in && w == ^uint64(0) {
				i += 63
				continue
			}
		}
		if b.has(i) == in {
			return i
		}
	}
	return n
}

// appendRuns writes the set over 0 … n-1 as lengths of runs, alternately in the
// set and not, beginning with a run in the set (perhaps of length 0).
func (b bitset) appendRuns(dst []byte, n uint32) []byte {
	in := true
	for i := uint32(0); i < n; in = !in {
		j := b.next(i, n, !in)
		dst = binary.AppendUvarint(dst, uint64(j-i))
		i = j
	}
	return dst
}

// readRuns reads what appendRuns wrote for n positions.
func readRuns(r *binread.Reader, n uint32) bitset {
	var b bitset
	in := true
	for i := uint32(0); i < n && !r.Bad; in = !in {
		l := r.Uint32()
		if l > n-i || l == 0 && i > 0 {
			r.Bad = true
			break
		}
		if in {
			for j := i; j < i+l; j++ {
				b.set(j)
			}
		}
		i += l
	}
	return b
}
