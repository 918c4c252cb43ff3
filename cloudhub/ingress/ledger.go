package ingress

import (
	"cmp"
	"slices"
)

// maxRanges bounds the ranges that one answer lists of an entry.
const maxRanges = 4096

// Entry is one line of the ledger: what the stream was given of one epoch.
type Entry struct {
	Device     string
	Epoch      string
	Stored     uint64  // messages stored, once each
	Duplicates uint64  // refused because already stored
	Floor      uint64  // the edge sends nothing below it again
	Restored   uint64  // refused with ErrRestored since the hub started
	Collapsed  uint64  // up to here only the number is known…
	Below      uint64  // …and this is it
	Ranges     []Range // above Collapsed, in order
	More       uint64  // ranges from this sequence on are not listed; 0: all are
}

// Ledger is what came in, as far as this stream's retention and time go: ranges
// stay in it when retention has removed the messages.
type Ledger struct {
	Last             uint64  // stream sequence the ledger covers
	Direct           uint64  // stored without origin
	DirectDuplicates uint64  // refused by message id
	Entries          []Entry // by device, then epoch
}

// Question selects what a ledger tells.
type Question struct {
	Device string // "": all
	Epoch  string // "": all
	From   uint64 // lists ranges from this sequence on
}

// Ledger reports what came in. Each entry lists at most maxRanges ranges and
// says where to go on.
func (g *Ingress) Ledger(q Question) Ledger { return g.index.ledger(q) }

func (x *index) ledger(q Question) Ledger {
	x.mu.RLock()
	defer x.mu.RUnlock()
	l := Ledger{Last: x.last, Direct: x.direct, DirectDuplicates: x.repeated, Entries: []Entry{}}
	for _, s := range x.sources {
		if q.Device != "" && s.device != q.Device || q.Epoch != "" && s.epoch != q.Epoch {
			continue
		}
		e := Entry{
			Device: s.device, Epoch: s.epoch, Stored: s.stored(), Duplicates: s.duplicates, Floor: s.floor,
			Restored: s.restored, Collapsed: s.collapsed, Below: s.collapsedHas,
		}
		e.Ranges, e.More = s.set.list(q.From, maxRanges)
		l.Entries = append(l.Entries, e)
	}
	slices.SortFunc(l.Entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Epoch, b.Epoch))
	})
	return l
}
