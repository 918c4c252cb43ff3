package ingress

import (
	"cmp"
	"slices"
	"sync"

	"github.com/penstock-io/penstock/message"
)

// maxEpochs bounds the epochs remembered for one edge hub. A hub begins a new
// epoch only when its store begins anew, and then sends nothing of the old one.
const maxEpochs = 32

type originKey struct{ device, epoch string }

// index knows which origins the stream holds. One goroutine changes it, the
// committer; everybody may read it through its methods.
type index struct {
	mu      sync.RWMutex
	sources map[originKey]*source
	devices map[string][]*source // the same, by edge device
	recent  *recent

	last     uint64 // stream sequence up to which the index knows the stream
	direct   uint64 // messages without origin stored
	repeated uint64 // messages without origin refused by their message id
}

func newIndex(r *recent) *index {
	return &index{sources: map[originKey]*source{}, devices: map[string][]*source{}, recent: r}
}

// source returns the entry of o's epoch, or nil.
func (x *index) source(o message.Origin) *source {
	return x.sources[originKey{o.Device, o.Epoch}]
}

// ensure returns the entry of o's epoch, made if it is new. x.mu is held.
func (x *index) ensure(o message.Origin) *source {
	if s := x.source(o); s != nil {
		return s
	}
	s := &source{device: o.Device, epoch: o.Epoch}
	x.insert(s)
	return s
}

// insert adds s and forgets the device's least recently used epoch when it has
// too many. x.mu is held.
func (x *index) insert(s *source) {
	x.sources[originKey{s.device, s.epoch}] = s
	of := x.devices[s.device]
	if len(of) >= maxEpochs {
		oldest := slices.MinFunc(of, func(a, b *source) int { return cmp.Compare(a.last, b.last) })
		delete(x.sources, originKey{oldest.device, oldest.epoch})
		of = slices.DeleteFunc(of, func(o *source) bool { return o == oldest })
	}
	x.devices[s.device] = append(of, s)
}

// store notes that the message of origin o, or without origin with that id,
// stands in the stream at streamSeq. x.mu is held.
func (x *index) store(o message.Origin, id digest, at int64, streamSeq uint64) {
	if o.Seq != 0 {
		x.ensure(o).add(o, streamSeq)
		return
	}
	x.direct++
	if id != (digest{}) {
		x.recent.add(id, at)
	}
}

// Entry is one line of the ledger: what the stream was given of one epoch.
type Entry struct {
	Device     string
	Epoch      string
	Stored     uint64  // messages stored, once each
	Duplicates uint64  // refused because already stored
	Floor      uint64  // the edge sends nothing below it again
	Collapsed  uint64  // up to here only the number is known…
	Below      uint64  // …and this is it
	Ranges     []Range // above Collapsed, in order
}

// Ledger is what came in, as far as this stream's retention and time go: ranges
// stay in it when retention has removed the messages.
type Ledger struct {
	Last             uint64  // stream sequence the ledger covers
	Direct           uint64  // stored without origin
	DirectDuplicates uint64  // refused by message id
	Entries          []Entry // by device, then epoch
}

// ledger reports the entries of one device, or of all for "".
func (x *index) ledger(device string) Ledger {
	x.mu.RLock()
	defer x.mu.RUnlock()
	l := Ledger{Last: x.last, Direct: x.direct, DirectDuplicates: x.repeated, Entries: []Entry{}}
	for _, s := range x.sources {
		if device != "" && s.device != device {
			continue
		}
		l.Entries = append(l.Entries, Entry{
			Device: s.device, Epoch: s.epoch, Stored: s.stored(), Duplicates: s.duplicates, Floor: s.floor,
			Collapsed: s.collapsed, Below: s.collapsedHas, Ranges: append([]Range{}, s.ranges...),
		})
	}
	slices.SortFunc(l.Entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Epoch, b.Epoch))
	})
	return l
}
