package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/binread"
	"github.com/penstock-io/penstock/message"
)

// Exception is a run of a queue's sequences that were not delivered.
type Exception struct {
	First, Last uint64
	// Count of the sequences from First to Last that Reason applies to. It is
	// Last-First+1 unless the queue had more than 512 runs: then the two oldest
	// of a reason become one, which says how many but no longer which.
	Count  uint64
	Reason string // expired, buried, or the cause of a drop
}

// exceptions is ordered by First. Guarded by its queue's mu.
type exceptions struct {
	runs  []Exception
	dirty bool
}

func reasonOf(o message.Outcome, cause string) string {
	if o == message.Dropped && cause != "" {
		return truncate(cause, maxCause)
	}
	return o.String()
}

func (x *exceptions) add(first, last uint64, reason string) {
	x.dirty = true
	i, _ := slices.BinarySearchFunc(x.runs, first, func(e Exception, s uint64) int {
		if e.First <= s {
			return -1
		}
		return 1
	})
	if i > 0 && x.runs[i-1].joins(first, reason) {
		x.runs[i-1].Last = last
		x.runs[i-1].Count += last - first + 1
		if i < len(x.runs) && x.runs[i-1].joins(x.runs[i].First, x.runs[i].Reason) && x.runs[i].exact() {
			x.runs[i-1].Last, x.runs[i-1].Count = x.runs[i].Last, x.runs[i-1].Count+x.runs[i].Count
			x.runs = slices.Delete(x.runs, i, i+1)
		}
		return
	}
	e := Exception{First: first, Last: last, Count: last - first + 1, Reason: reason}
	if i < len(x.runs) && e.joins(x.runs[i].First, x.runs[i].Reason) && x.runs[i].exact() {
		x.runs[i].First = first
		x.runs[i].Count += e.Count
		return
	}
	x.runs = slices.Insert(x.runs, i, e)
	if len(x.runs) > maxExceptions {
		x.coarsen()
	}
}

func (e *Exception) exact() bool { return e.Count == e.Last-e.First+1 }

func (e *Exception) joins(next uint64, reason string) bool {
	return e.exact() && e.Last+1 == next && e.Reason == reason
}

// coarsen joins the oldest run with the next of the same reason; if its reason
// has no other run, the second oldest, and so on.
func (x *exceptions) coarsen() {
	for i := range x.runs {
		for j := i + 1; j < len(x.runs); j++ {
			if x.runs[i].Reason != x.runs[j].Reason {
				continue
			}
			x.runs[i].Last = max(x.runs[i].Last, x.runs[j].Last)
			x.runs[i].Count += x.runs[j].Count
			x.runs = slices.Delete(x.runs, j, j+1)
			return
		}
	}
	x.runs = x.runs[1:] // more reasons than runs
}

func (x *exceptions) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(x.runs)))
	for _, e := range x.runs {
		dst = binary.AppendUvarint(dst, e.First)
		dst = binary.AppendUvarint(dst, e.Last-e.First)
		dst = binary.AppendUvarint(dst, e.Count)
		dst = binread.Append(dst, e.Reason)
	}
	return dst
}

func (x *exceptions) parse(b []byte) error {
	r := binread.Reader{B: b}
	n := r.Uvarint()
	if n > maxExceptions {
		r.Bad = true
	}
	for i := uint64(0); i < n && !r.Bad; i++ {
		first := r.Uvarint()
		x.runs = append(x.runs, Exception{First: first, Last: first + r.Uvarint(), Count: r.Uvarint(), Reason: r.String()})
	}
	if !r.Whole() {
		return fmt.Errorf("read exceptions: %w", ErrDamaged)
	}
	return nil
}

// Exceptions returns the sequences of the queue that were not delivered and will
// not be, in order: with them and what the other side has, every sequence below
// Floor is explained. A requeued dead letter stays an exception under its old
// sequence; it goes on under a new one.
func (q *Queue) Exceptions() []Exception {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.except.runs)
}
