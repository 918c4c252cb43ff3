package ingress

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

// drain sends every second sequence from from to to, as an edge does that drains
// one priority while another one holds its floor.
func drain(t *testing.T, g *Ingress, from, to, floor uint64) {
	t.Helper()
	var answers []<-chan []error
	for seq := from; seq <= to; {
		ms := make([]message.Message, 0, maxChunk)
		for ; seq <= to && len(ms) < maxChunk; seq += 2 {
			ms = append(ms, message.Message{Device: "leaf", Origin: message.Origin{Device: "edge", Epoch: "e1", Seq: seq, Floor: min(floor, seq)}})
		}
		answers = append(answers, accept(g, ms...))
	}
	for _, a := range answers {
		if errs := wait(t, a); errs != nil {
			t.Fatal(errs)
		}
	}
}

func TestOnePriorityDrainsBeforeTheOther(t *testing.T) {
	const last = 200_000
	c := newCloud(t)
	g, stop := c.ingress(c.inProcess(), Config{})
	checks := func(g *Ingress, stored, duplicates uint64) {
		t.Helper()
		e := g.Ledger(Question{Device: "edge"}).Entries[0]
		if e.Stored != stored || e.Duplicates != duplicates || e.Restored != 0 {
			t.Fatalf("stored %d, %d duplicates, %d restored", e.Stored, e.Duplicates, e.Restored)
		}
	}
	drain(t, g, 1, last/2, 2)
	stop()
	g, stop = c.ingress(c.inProcess(), Config{}) // from the snapshot
	drain(t, g, 101, 40_101, 2)
	drain(t, g, last/2+1, last, 2)
	checks(g, last/2, 20_001)
	if err := os.Remove(c.snapshot()); err != nil {
		t.Fatal(err)
	}
	// While the first still runs: it must not leave a snapshot for the next.
	g, stop2 := c.ingress(c.inProcess(), Config{Snapshot: c.dir + "/second"})
	stop()
	drain(t, g, 3, 20_001, 2)
	checks(g, last/2, 10_000)
	if rs := g.Ledger(Question{Device: "edge"}); len(rs.Entries[0].Ranges) != maxRanges || rs.Entries[0].More != 2*maxRanges+1 {
		t.Errorf("%d ranges, more from %d", len(rs.Entries[0].Ranges), rs.Entries[0].More)
	}
	for from := uint64(2); from <= last; from += 50_000 { // the floor follows
		drain(t, g, from, from+49_998, from)
	}
	checks(g, last, 10_000)
	stop2()
	e := g.Ledger(Question{}).Entries[0]
	if diff := cmp.Diff([]Range{{1, last}}, e.Ranges); diff != "" || e.More != 0 {
		t.Error(diff)
	}
}

// The same far beyond what a test can bring through a stream that syncs.
func TestHalfAMillionScatteredSequences(t *testing.T) {
	const last = 500_000
	x := newIndex(newRecent(0, 1), defaultIndex)
	o := message.Origin{Device: "edge", Epoch: "e1", Floor: 2}
	check := func(has func(uint64) bool) {
		t.Helper()
		for seq := uint64(1); seq <= last; seq++ {
			if s := x.source(o); s.has(seq) != has(seq) {
				t.Fatalf("sequence %d: stored %v", seq, s.has(seq))
			}
		}
	}
	for o.Seq = 1; o.Seq <= last; o.Seq += 2 {
		if s := x.ensure(o); !x.admits(s, o) {
			t.Fatalf("sequence %d is refused", o.Seq)
		}
		x.store(o, digest{}, 0, o.Seq)
	}
	check(func(seq uint64) bool { return seq%2 == 1 })
	if x.bytes > 100_000 {
		t.Errorf("the index takes %d bytes", x.bytes)
	}
	snap, err := decodeSnapshot(x.encode(1))
	if err != nil {
		t.Fatal(err)
	}
	x = newIndex(newRecent(0, 1), defaultIndex)
	snap.into(x)
	check(func(seq uint64) bool { return seq%2 == 1 })
	for o.Seq = 2; o.Seq <= last; o.Seq += 2 {
		o.Floor = o.Seq
		x.store(o, digest{}, 0, o.Seq)
	}
	check(func(uint64) bool { return true })
	if e := x.ledger(Question{}).Entries[0]; e.Stored != last || len(e.Ranges) != 1 || e.More != 0 {
		t.Errorf("stored %d in %d ranges", e.Stored, len(e.Ranges))
	}
}
