package ingress

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

func TestRangesBelowTheFloorCollapse(t *testing.T) {
	s := &source{}
	grow := 0
	for i := range uint64(40 * partSize / 2) {
		grow += s.add(message.Origin{Seq: 2*i + 1, Floor: 1}, i)
	}
	if s.collapsed != 0 || s.set.bytes != grow || s.stored() != 20*partSize {
		t.Fatalf("collapsed to %d, %d bytes of %d, %d stored", s.collapsed, grow, s.set.bytes, s.stored())
	}
	grow += s.add(message.Origin{Seq: 50*partSize + 1, Floor: 19*partSize + 1}, 1)
	if s.collapsed != 19*partSize || s.collapsedHas != 19*partSize/2 || s.stored() != 20*partSize+1 || s.set.bytes != grow {
		t.Errorf("collapsed to %d with %d, %d stored", s.collapsed, s.collapsedHas, s.stored())
	}
	if !s.has(2) || s.has(19*partSize+2) || !s.has(19*partSize+1) {
		t.Error("below the collapse everything is known, above it only what is stored")
	}
}

func TestGapsAboveTheFloorAreNeverForgotten(t *testing.T) {
	x := newIndex(newRecent(0, 1), 300<<10)
	o := message.Origin{Device: "d", Epoch: "e", Floor: 1}
	for n := uint64(0); ; n++ {
		o.Seq = n*partSize + 1
		if s := x.ensure(o); !x.admits(s, o) {
			break
		}
		x.store(o, digest{}, 0, n+1)
		if n > 10_000 {
			t.Fatal("no bound")
		}
	}
	s := x.source(o)
	o.Seq = 2 // beside one that is there: takes no memory
	if !x.admits(s, o) || s.has(2) {
		t.Error("a message that fills a gap is not admitted, or counts as stored")
	}
	o.Seq, o.Floor = 20_000*partSize, 2000*partSize
	s.raise(o.Floor)
	if !x.admits(s, o) || s.collapsed == 0 || x.bytes != s.set.bytes {
		t.Error("not admitted although the floor allows to collapse")
	}
}

func TestOldestEpochIsForgotten(t *testing.T) {
	x := newIndex(newRecent(0, 1), defaultIndex)
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
	x := newIndex(newRecent(0, 1), defaultIndex)
	x.last, x.direct, x.repeated = 90, 3, 1
	for _, seq := range []uint64{1, 2, 3, 9, 1 << 60} {
		x.store(message.Origin{Device: "edge", Epoch: "e1", Seq: seq, Floor: 2}, digest{}, 0, 80)
	}
	x.store(message.Origin{Device: "edge", Epoch: "e2", Seq: 7}, digest{}, 0, 81)
	for seq := uint64(1); seq <= 3*partSize; seq++ { // a part of each form
		if seq > partSize && seq%2 == 0 {
			continue
		}
		x.store(message.Origin{Device: "edge", Epoch: "e3", Seq: seq}, digest{}, 0, 82)
	}
	x.sources[originKey{"edge", "e1"}].duplicates = 5
	return x
}

func TestSnapshotKeepsTheIndex(t *testing.T) {
	want := sampleIndex()
	snap, err := decodeSnapshot(want.encode(42))
	if err != nil {
		t.Fatal(err)
	}
	got := newIndex(newRecent(0, 1), defaultIndex)
	snap.into(got)
	if diff := cmp.Diff(want.ledger(Question{}), got.ledger(Question{})); diff != "" || snap.created != 42 {
		t.Error(snap.created, diff)
	}
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	x := newIndex(newRecent(0, 1), defaultIndex)
	x.store(message.Origin{Device: "edge", Epoch: "e1", Seq: 7}, digest{}, 0, 81)
	data := x.encode(42)
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
		x := newIndex(newRecent(0, 1), defaultIndex)
		snap.into(x)
		again, err := decodeSnapshot(x.encode(snap.created))
		if err != nil {
			t.Fatalf("encoding a decoded snapshot: %v", err)
		}
		y := newIndex(newRecent(0, 1), defaultIndex)
		again.into(y)
		if diff := cmp.Diff(x.ledger(Question{}), y.ledger(Question{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
