package client

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPagesOfOneEntryAreJoined(t *testing.T) {
	for _, c := range []struct {
		name              string
		entry, page, want LedgerEntry
	}{
		{
			"apart", LedgerEntry{Ranges: []Range{{1, 2}}, More: 5}, LedgerEntry{Stored: 4, Ranges: []Range{{5, 6}}},
			LedgerEntry{Stored: 4, Ranges: []Range{{1, 2}, {5, 6}}},
		},
		{
			"the gap between them has gone", LedgerEntry{Ranges: []Range{{1, 2}}, More: 5}, LedgerEntry{Ranges: []Range{{3, 6}, {9, 9}}, More: 12},
			LedgerEntry{Ranges: []Range{{1, 6}, {9, 9}}, More: 12},
		},
		{
			"given up meanwhile", LedgerEntry{Ranges: []Range{{1, 2}, {4, 8}}, More: 10},
			LedgerEntry{Collapsed: 5, Below: 4, Ranges: []Range{{10, 10}}},
			LedgerEntry{Collapsed: 5, Below: 4, Ranges: []Range{{6, 8}, {10, 10}}},
		},
	} {
		if c.entry.add(&c.page); !cmp.Equal(c.want, c.entry) {
			t.Errorf("%s: %s", c.name, cmp.Diff(c.want, c.entry))
		}
	}
}
