package reconcile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	edge "github.com/penstock-io/penstock/edgehub/client"
)

func TestCompare(t *testing.T) {
	seqs := func(next, floor, queued uint64, es ...edge.Exception) edge.Sequences {
		return edge.Sequences{Epoch: "e", Next: next, Floor: floor, Queued: queued, Exceptions: es}
	}
	has := func(rs ...Range) cloud.LedgerEntry { return cloud.LedgerEntry{Device: "d", Epoch: "e", Ranges: rs} }
	for _, c := range []struct {
		name       string
		before     edge.Sequences
		cloud      cloud.LedgerEntry
		balanced   bool
		missing    []Range
		unexpected []Range
		below      uint64
		waiting    uint64
	}{
		{name: "nothing yet", before: seqs(1, 1, 0), cloud: has(), balanced: true},
		{name: "all there", before: seqs(11, 11, 0), cloud: has(Range{From: 1, To: 10}), balanced: true},
		{name: "the rest waits", before: seqs(11, 6, 5), cloud: has(Range{From: 1, To: 5}), balanced: true, waiting: 5},
		{name: "under way while read", before: seqs(11, 6, 5), cloud: has(Range{From: 1, To: 8}), balanced: true, waiting: 2},
		{name: "a gap that nobody explains", before: seqs(11, 11, 0), cloud: has(Range{From: 1, To: 3}, Range{From: 6, To: 10}), missing: []Range{{From: 4, To: 5}}},
		{
			name: "an expired run", before: seqs(11, 11, 0, edge.Exception{First: 4, Last: 5, Count: 2, Reason: "expired"}),
			cloud: has(Range{From: 1, To: 3}, Range{From: 6, To: 10}), balanced: true,
		},
		{
			name: "an exception that explains only part", before: seqs(11, 11, 0, edge.Exception{First: 4, Last: 4, Count: 1, Reason: "expired"}),
			cloud: has(Range{From: 1, To: 3}, Range{From: 6, To: 10}), missing: []Range{{From: 5, To: 5}},
		},
		{
			name: "a merged exception", before: seqs(11, 11, 0, edge.Exception{First: 2, Last: 9, Count: 2, Reason: "expired"}),
			cloud: has(Range{From: 1, To: 2}, Range{From: 4, To: 7}, Range{From: 9, To: 10}), balanced: true,
		},
		{name: "less waits than is absent", before: seqs(11, 6, 2), cloud: has(Range{From: 1, To: 5}), waiting: 5},
		{name: "the cloud has what was never given", before: seqs(5, 5, 0), cloud: has(Range{From: 1, To: 7}), unexpected: []Range{{From: 5, To: 7}}},
		{
			name: "collapsed and complete", before: seqs(101, 101, 0, edge.Exception{First: 10, Last: 19, Count: 10, Reason: "buried"}),
			cloud: cloud.LedgerEntry{Collapsed: 50, Below: 40, Ranges: []Range{{From: 51, To: 100}}}, balanced: true,
		},
		{
			name: "collapsed and short", before: seqs(101, 101, 0),
			cloud: cloud.LedgerEntry{Collapsed: 50, Below: 47, Ranges: []Range{{From: 51, To: 100}}}, below: 3,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Compare("d", c.before, c.before, c.cloud)
			got := []any{r.Balanced, append([]Range(nil), r.Missing...), append([]Range(nil), r.Unexpected...), r.MissingBelow, r.Waiting}
			want := []any{c.balanced, c.missing, c.unexpected, c.below, c.waiting}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
