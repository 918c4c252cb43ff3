package ingress

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/internal/binread"
)

// checkSet compares a set with the model of what was added.
func checkSet(t *rapid.T, s *set, model map[uint64]bool, around []uint64) {
	for _, seq := range around {
		if s.has(seq) != model[seq] {
			t.Fatalf("has %d: %v", seq, s.has(seq))
		}
	}
	size, n, last := 0, uint64(0), uint64(0)
	for i, p := range s.parts {
		if i > 0 && (p.first <= s.parts[i-1].last || p.full && s.parts[i-1].full && p.first == s.parts[i-1].last+1) {
			t.Fatalf("parts %d and %d are not in order, or not joined", i-1, i)
		}
		size += p.size()
	}
	rs, next := s.list(0, 1<<30)
	for _, r := range rs {
		if last != 0 && r.From < last+2 || r.To < r.From {
			t.Fatalf("ranges touch: %v", rs)
		}
		n, last = n+r.To-r.From+1, r.To
	}
	if n != uint64(len(model)) || s.n != n || s.bytes != size || next != 0 {
		t.Fatalf("%d listed, %d counted of %d; %d bytes of %d", n, s.n, len(model), s.bytes, size)
	}
}

func TestSetBehavesAsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s set
		model := map[uint64]bool{}
		var around []uint64
		for range rapid.IntRange(1, 8).Draw(t, "strokes") {
			from := rapid.Uint64Range(1, 3*partSize).Draw(t, "from")
			step := rapid.Uint64Range(1, 3).Draw(t, "step")
			count := rapid.SampledFrom([]uint64{1, 2, 700, 1500, 20_000, partSize + 7}).Draw(t, "count")
			for seq := from; seq < from+step*count; seq += step {
				grows, before := s.grows(seq), s.bytes
				if s.add(seq) == model[seq] {
					t.Fatalf("add %d: wrong answer", seq)
				}
				if !grows && s.bytes > before {
					t.Fatalf("%d was said to take no memory", seq)
				}
				model[seq] = true
			}
			around = append(around, from-1, from, from+1, from+step*count-1, from+step*count, from+step*count+1)
		}
		checkSet(t, &s, model, around)
		var again set
		r := binread.Reader{B: s.encode(nil)}
		if again.decode(&r); !r.Whole() {
			t.Fatal("encoding is not read")
		}
		checkSet(t, &again, model, around)
		key := rapid.Uint64Range(0, 6).Draw(t, "cut at")
		removed := s.cut(key)
		for seq := range model {
			if seq <= key*partSize {
				delete(model, seq)
				removed--
			}
		}
		if removed != 0 {
			t.Fatalf("cut miscounts by %d", removed)
		}
		checkSet(t, &s, model, nil)
	})
}

func TestSetListsPageByPage(t *testing.T) {
	var s set
	for seq := uint64(1); seq <= 300_000; seq++ {
		if seq%7 != 0 && seq != 1 {
			s.add(seq)
		}
	}
	whole, _ := s.list(0, 1<<30)
	var paged []Range
	for from := uint64(1); from != 0; {
		var rs []Range
		rs, from = s.list(from, 1000)
		paged = append(paged, rs...)
	}
	if diff := cmp.Diff(whole, paged); diff != "" || len(whole) != 42_858 {
		t.Error(len(whole), diff)
	}
	if rs, _ := s.list(10, 2); !cmp.Equal(rs, []Range{{10, 13}, {15, 20}}) {
		t.Errorf("from the middle of a range: %v", rs)
	}
}

// The end of the numbers must not wrap around.
func TestSetAtTheHighestSequence(t *testing.T) {
	const top = 1<<64 - 1
	var s set
	for seq := uint64(top); seq > top-2*partSize; seq-- {
		s.add(seq)
	}
	if rs, _ := s.list(0, 9); !cmp.Equal(rs, []Range{{top - 2*partSize + 1, top}}) || s.has(0) {
		t.Errorf("%v", rs)
	}
}

// Every second sequence takes a bit, and no insertion moves what is elsewhere.
func TestScatteredSetIsSmall(t *testing.T) {
	var s set
	const n = 4_000_000
	for seq := uint64(n); seq > 0; seq -= 2 {
		s.add(seq)
	}
	if s.bytes > n/8*11/10 {
		t.Errorf("%d bytes", s.bytes)
	}
	for seq := uint64(1); seq <= n; seq += 2 {
		s.add(seq)
	}
	if s.bytes > 5000 || s.n != n {
		t.Errorf("%d bytes, %d held", s.bytes, s.n)
	}
}

func BenchmarkSetAddScattered(b *testing.B) {
	var s set
	for b.Loop() {
		s.add(2*s.n + 1)
	}
}
