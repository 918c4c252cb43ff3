// Package binread takes binary encodings apart: unsigned varints, and runs of
// bytes behind their length. A Reader never panics and never reads beyond its
// input, whatever that holds. It is pure; a Reader belongs to one goroutine.
package binread

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// Reader reads B from the front. After the first fault it answers zeros, B is
// empty and Bad stays set, so a decoder may read on and ask once at the end.
type Reader struct {
	B   []byte
	Bad bool
}

// Fail marks the input as wrong.
func (r *Reader) Fail() { r.B, r.Bad = nil, true }

// Whole reports whether everything was read and nothing was wrong.
func (r *Reader) Whole() bool { return !r.Bad && len(r.B) == 0 }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.B) == 0 {
		r.Bad = true
		return 0
	}
	c := r.B[0]
	r.B = r.B[1:]
	return c
}

// Uvarint reads an unsigned varint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Uint32 reads an unsigned varint that fits 32 bits.
func (r *Reader) Uint32() uint32 {
	v := r.Uvarint()
	if v > math.MaxUint32 {
		r.Fail()
		return 0
	}
	return uint32(v)
}

// Take reads n bytes, a view into B.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.B)) {
		r.Fail()
		return nil
	}
	p := r.B[:n:n]
	r.B = r.B[n:]
	return p
}

// Bytes reads a length and so many bytes, a view into B.
func (r *Reader) Bytes() []byte { return r.Take(r.Uvarint()) }

// String reads a length and so many bytes, copied.
func (r *Reader) String() string { return string(r.Bytes()) }

// View reads like String without copying: nobody may change the input afterwards.
func (r *Reader) View() string { return View(r.Bytes()) }

// View is b as a string without a copy: nobody may change b afterwards.
func View(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Append appends b behind its length, as Bytes and String read it.
func Append[T ~string | ~[]byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}
