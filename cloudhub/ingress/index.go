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

	bytes    int    // what the sources' sets take
	limit    int    // and may take
	last     uint64 // stream sequence up to which the index knows the stream
	direct   uint64 // messages without origin stored
	repeated uint64 // messages without origin refused by their message id
}

// newIndex returns an empty index whose sets may take limit bytes.
func newIndex(r *recent, limit int) *index {
	return &index{limit: limit, sources: map[originKey]*source{}, devices: map[string][]*source{}, recent: r}
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
		x.bytes -= oldest.set.bytes
		of = slices.DeleteFunc(of, func(o *source) bool { return o == oldest })
	}
	x.devices[s.device] = append(of, s)
	x.bytes += s.set.bytes
}

// admits reports whether o may be added to s within the bounds on memory; it
// gives up gaps below the floor for that. x.mu is held.
func (x *index) admits(s *source, o message.Origin) bool {
	fits := func() bool { return s.set.bytes < maxSource && x.bytes < x.limit || !s.set.grows(o.Seq) }
	if fits() {
		return true
	}
	before := s.set.bytes
	s.collapse()
	x.bytes += s.set.bytes - before
	return fits()
}

// store notes that the message of origin o, or without origin with that id,
// stands in the stream at streamSeq. x.mu is held.
func (x *index) store(o message.Origin, id digest, at int64, streamSeq uint64) {
	if o.Seq != 0 {
		x.bytes += x.ensure(o).add(o, streamSeq)
		return
	}
	x.direct++
	if id != (digest{}) {
		x.recent.add(id, at)
	}
}

// restored names the edge hubs that were refused with ErrRestored.
func (x *index) restored() (names []string) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, s := range x.sources {
		if s.restored > 0 {
			names = append(names, s.device)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), maxNamed)]
}
