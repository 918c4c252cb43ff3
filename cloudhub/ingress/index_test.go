package ingress

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
)

func TestRangesBehaveAsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ranges
		model := map[uint64]bool{}
		for _, seq := range rapid.SliceOf(rapid.Uint64Range(1, 40)).Draw(t, "sequences") {
			before, extends := len(r), r.extends(seq)
			var fresh bool
			r, fresh = r.add(seq)
			if fresh == model[seq] {
				t.Fatalf("add %d: new %v", seq, fresh)
			}
			model[seq] = true
			if extends && len(r) > before {
				t.Fatalf("%d was said to extend a range, %v", seq, r)
			}
		}
		for seq := uint64(0); seq <= 42; seq++ {
			if r.has(seq) != model[seq] {
				t.Fatalf("has %d: %v", seq, r)
			}
		}
		if r.count() != uint64(len(model)) {
			t.Fatalf("count %d of %d", r.count(), len(model))
		}
		for i := 1; i < len(r); i++ {
			if r[i].From < r[i-1].To+2 {
				t.Fatalf("ranges touch: %v", r)
			}
		}
	})
}

func TestGapsAboveTheFloorAreNeverForgotten(t *testing.T) {
	s := &source{}
	for i := range uint64(maxRanges) {
		s.add(message.Origin{Seq: 2*i + 1, Floor: 1}, i)
	}
	if s.admits(message.Origin{Seq: 1_000_000, Floor: 1}) {
		t.Error("a range beyond the bound is admitted")
	}
	if !s.admits(message.Origin{Seq: 2, Floor: 1}) {
		t.Error("a message that fills a gap is not admitted")
	}
	if s.has(2) {
		t.Error("a gap counts as stored")
	}
}

func TestRangesBelowTheFloorCollapse(t *testing.T) {
	s := &source{}
	for i := range uint64(maxRanges) {
		s.add(message.Origin{Seq: 2*i + 1, Floor: 1}, i)
	}
	o := message.Origin{Seq: 1_000_000, Floor: 101}
	if !s.admits(o) {
		t.Fatal("not admitted although the floor allows to collapse")
	}
	s.add(o, 1)
	if s.collapsed != 99 || s.collapsedHas != 50 || s.stored() != maxRanges+1 {
		t.Errorf("collapsed to %d with %d, %d stored", s.collapsed, s.collapsedHas, s.stored())
	}
	if !s.has(2) || s.has(102) || !s.has(101) {
		t.Error("below the collapse everything is known, above it only what is stored")
	}
}

func TestOldestEpochIsForgotten(t *testing.T) {
	x := newIndex(newRecent(0, 1))
	for i := range uint64(maxEpochs + 5) {
		x.store(message.Origin{Device: "d", Epoch: string(rune('A' + i)), Seq: 1}, digest{}, 0, i+1)
	}
	if len(x.sources) != maxEpochs || len(x.devices["d"]) != maxEpochs {
		t.Errorf("%d epochs kept", len(x.sources))
	}
	if x.source(message.Origin{Device: "d", Epoch: "E"}) != nil || x.source(message.Origin{Device: "d", Epoch: "F"}) == nil {
		t.Error("not the oldest was forgotten")
	}
}

func TestRecentForgets(t *testing.T) {
	r := newRecent(1000_000_000, 3)
	for i, d := range []digest{{1}, {2}, {3}, {3}, {4}} {
		r.add(d, int64(i))
	}
	if r.has(digest{1}, 5) || !r.has(digest{2}, 5) || !r.has(digest{3}, 5) || !r.has(digest{4}, 5) || len(r.at) != 3 {
		t.Errorf("kept: %v", r.at)
	}
	if r.has(digest{4}, 1004) || !r.has(digest{4}, 1003) {
		t.Error("the window is not kept")
	}
}

func sampleIndex() *index {
	x := newIndex(newRecent(0, 1))
	x.last, x.direct, x.repeated = 90, 3, 1
	for _, seq := range []uint64{1, 2, 3, 9, 1 << 60} {
		x.store(message.Origin{Device: "edge", Epoch: "e1", Seq: seq, Floor: 2}, digest{}, 0, 80)
	}
	x.store(message.Origin{Device: "edge", Epoch: "e2", Seq: 7}, digest{}, 0, 81)
	x.sources[originKey{"edge", "e1"}].duplicates = 5
	return x
}

func TestSnapshotKeepsTheIndex(t *testing.T) {
	want := sampleIndex()
	snap, err := decodeSnapshot(want.encode(42))
	if err != nil {
		t.Fatal(err)
	}
	got := newIndex(newRecent(0, 1))
	snap.into(got)
	if diff := cmp.Diff(want.ledger(""), got.ledger("")); diff != "" || snap.created != 42 {
		t.Error(snap.created, diff)
	}
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	data := sampleIndex().encode(42)
	for i := range data {
		bad := slices.Clone(data)
		bad[i] ^= 0x10
		if _, err := decodeSnapshot(bad); err == nil {
			t.Fatalf("a changed byte %d went unnoticed", i)
		}
		if _, err := decodeSnapshot(data[:i]); err == nil {
			t.Fatalf("the first %d bytes were taken for all", i)
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	data := sampleIndex().encode(42)
	f.Add(data[len(snapshotMagic) : len(data)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		// Behind a right checksum, so that the decoder itself is reached.
		snap, err := decodeSnapshot(seal(b))
		if err != nil {
			return
		}
		x := newIndex(newRecent(0, 1))
		snap.into(x)
		again, err := decodeSnapshot(x.encode(snap.created))
		if err != nil {
			t.Fatalf("encoding a decoded snapshot: %v", err)
		}
		y := newIndex(newRecent(0, 1))
		again.into(y)
		if len(y.sources) != len(x.sources) {
			t.Fatal("sources lost")
		}
	})
}
