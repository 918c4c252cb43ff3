package store

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/binread"
	"github.com/penstock-io/penstock/message"
)

// account is the ledger of one rule in one queue. Guarded by its queue's mu.
type account struct {
	accepted uint64 // changes with a commit only
	out      outcomes
	outDirty bool

	// Counted in the queue's blocks, not derived from the figures above.
	queued int64
	bytes  int64
}

// outcomes says how messages left a queue.
type outcomes struct {
	delivered, expired, buried uint64
	dropped                    map[string]uint64
}

func (o *outcomes) add(how message.Outcome, cause string, n uint64) {
	switch how {
	case message.Delivered:
		o.delivered += n
	case message.Expired:
		o.expired += n
	case message.Buried:
		o.buried += n
	case message.Dropped:
		o.drop(cause, n)
	}
}

// drop counts n dropped for cause; beyond maxDrops causes they share one.
func (o *outcomes) drop(cause string, n uint64) {
	if o.dropped == nil {
		o.dropped = make(map[string]uint64)
	}
	if _, ok := o.dropped[cause]; !ok && len(o.dropped) >= maxDrops {
		cause = "other"
	}
	o.dropped[cause] += n
}

func (o *outcomes) merge(p *outcomes) {
	o.delivered += p.delivered
	o.expired += p.expired
	o.buried += p.buried
	for cause, n := range p.dropped {
		o.drop(cause, n)
	}
}

func (o *outcomes) clone() outcomes {
	c := *o
	c.dropped = maps.Clone(o.dropped)
	return c
}

func (o *outcomes) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, o.delivered)
	dst = binary.AppendUvarint(dst, o.expired)
	dst = binary.AppendUvarint(dst, o.buried)
	dst = binary.AppendUvarint(dst, uint64(len(o.dropped)))
	for _, cause := range slices.Sorted(maps.Keys(o.dropped)) {
		dst = binread.Append(dst, cause)
		dst = binary.AppendUvarint(dst, o.dropped[cause])
	}
	return dst
}

func (o *outcomes) parse(b []byte) error {
	r := binread.Reader{B: b}
	o.delivered, o.expired, o.buried = r.Uvarint(), r.Uvarint(), r.Uvarint()
	n := r.Uvarint()
	if n > maxDrops+1 {
		r.Bad = true
	}
	for i := uint64(0); i < n && !r.Bad; i++ {
		cause := r.String()
		o.drop(cause, r.Uvarint())
	}
	if !r.Whole() {
		return fmt.Errorf("read account: %w", ErrDamaged)
	}
	return nil
}
