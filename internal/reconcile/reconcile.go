// Package reconcile compares the ledger of an edge hub's uplink with what the
// cloud has, by sequence ranges: each sequence the edge gave must be in the
// cloud, or be waiting on the edge, or be accounted for as expired, dropped or
// buried. It is pure.
package reconcile

import (
	"cmp"
	"slices"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	edge "github.com/penstock-io/penstock/edgehub/client"
)

// Range is the sequences From to To, both included.
type Range = cloud.Range

// Report is the comparison for one life of one edge hub's store.
type Report struct {
	Device string `json:"device"`
	Epoch  string `json:"epoch"`

	Given       uint64            `json:"given"`       // sequences the edge gave
	InCloud     uint64            `json:"in_cloud"`    // stored, once each
	Duplicates  uint64            `json:"duplicates"`  // came again and were refused
	Waiting     uint64            `json:"waiting"`     // on the edge, not in the cloud
	Undelivered map[string]uint64 `json:"undelivered"` // by reason: expired, buried, …

	Missing    []Range `json:"missing"`    // settled as delivered, not in the cloud
	Unexpected []Range `json:"unexpected"` // in the cloud, never given by the edge

	// MissingBelow counts missing ones in the old part of a ledger of which the
	// cloud keeps only the number of messages.
	MissingBelow uint64 `json:"missing_below"`

	Balanced bool `json:"balanced"`
}

// Compare holds the edge's account against the cloud's. before was read before
// the cloud's entry and after behind it, so that messages under way at the time
// are neither missing nor unexpected.
func Compare(device string, before, after edge.Sequences, c cloud.LedgerEntry) Report {
	r := Report{
		Device: device, Epoch: before.Epoch, Given: before.Next - 1,
		InCloud: c.Stored, Duplicates: c.Duplicates, Undelivered: map[string]uint64{}, Missing: []Range{}, Unexpected: []Range{},
	}
	have := covered(c)
	for _, e := range after.Exceptions {
		r.Undelivered[e.Reason] += e.Count
	}
	settled, open := split(gaps(have, 1, before.Next-1), before.Floor)
	r.Missing = append(r.Missing, explain(settled, after.Exceptions)...)
	r.MissingBelow = shortfall(c, after.Exceptions)
	for _, g := range explain(open, after.Exceptions) {
		r.Waiting += size(g)
	}
	for _, h := range have {
		if h.To >= after.Next {
			r.Unexpected = append(r.Unexpected, Range{From: max(h.From, after.Next), To: h.To})
		}
	}
	r.Balanced = len(r.Missing) == 0 && r.MissingBelow == 0 && len(r.Unexpected) == 0 && r.Waiting <= before.Queued
	return r
}

// covered returns the cloud's ranges in order. Below Collapsed it knows a
// number only; whether that number is complete is for shortfall to say.
func covered(c cloud.LedgerEntry) []Range {
	var rs []Range
	if c.Collapsed > 0 {
		rs = append(rs, Range{From: 1, To: c.Collapsed})
	}
	return append(rs, c.Ranges...)
}

// shortfall counts the sequences of the collapsed part that are neither in the
// cloud nor accounted for. Where they are is no longer known.
func shortfall(c cloud.LedgerEntry, es []edge.Exception) uint64 {
	absent := c.Collapsed - c.Below
	for _, e := range es {
		if e.First > c.Collapsed {
			continue
		}
		absent -= min(absent, e.Count, min(e.Last, c.Collapsed)-e.First+1)
	}
	return absent
}

func size(r Range) uint64 { return r.To - r.From + 1 }

// gaps returns the sequences from first to last that are in none of the ranges.
func gaps(have []Range, first, last uint64) []Range {
	var gs []Range
	next := first
	for _, h := range have {
		if h.From > last {
			break
		}
		if h.From > next {
			gs = append(gs, Range{From: next, To: h.From - 1})
		}
		next = max(next, h.To+1)
	}
	if next <= last {
		gs = append(gs, Range{From: next, To: last})
	}
	return gs
}

// split divides ranges at a sequence: those below, and those from it on.
func split(rs []Range, at uint64) (below, from []Range) {
	for _, r := range rs {
		switch {
		case r.To < at:
			below = append(below, r)
		case r.From >= at:
			from = append(from, r)
		default:
			below = append(below, Range{From: r.From, To: at - 1})
			from = append(from, Range{From: at, To: r.To})
		}
	}
	return below, from
}

// explain takes away what the exceptions account for and returns the rest. An
// exception that names fewer messages than it spans explains that many of its span.
func explain(rs []Range, es []edge.Exception) []Range {
	es = slices.Clone(es)
	slices.SortFunc(es, func(a, b edge.Exception) int { return cmp.Compare(spread(a), spread(b)) }) // exact ones first
	for i := range es {
		rs = without(rs, &es[i])
	}
	return rs
}

// spread is how many more sequences e spans than it counts.
func spread(e edge.Exception) uint64 { return e.Last - e.First + 1 - e.Count }

// without removes what e accounts for.
func without(rs []Range, e *edge.Exception) []Range {
	left := e.Count
	var rest []Range
	for _, r := range rs {
		from, to := max(r.From, e.First), min(r.To, e.Last)
		if from > to || left == 0 {
			rest = append(rest, r)
			continue
		}
		to = min(to, from+left-1)
		left -= to - from + 1
		if r.From < from {
			rest = append(rest, Range{From: r.From, To: from - 1})
		}
		if to < r.To {
			rest = append(rest, Range{From: to + 1, To: r.To})
		}
	}
	return rest
}
