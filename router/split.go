package router

import (
	"slices"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

const (
	// partBlocks and partBytes bound one part of a batch that is too much for one
	// request of the store. The store counts a block more when one is full: the
	// difference to store.MaxTargets is room for those.
	partBlocks = store.MaxTargets - 500
	partBytes  = 32 << 20
)

// weight is an upper bound of what a request takes of the store.
type weight struct {
	blocks int // if every target had a queue of its own
	bytes  int // in all queues together
}

func (w *weight) add(data []byte, ts []message.Target) {
	w.blocks += len(ts)
	w.bytes += len(data) * len(ts)
}

func (w *weight) fits() bool { return w.blocks <= store.MaxTargets && w.bytes <= partBytes }

// appendInParts appends the batch in as few requests as the store takes, each
// after the commit of the one before, and then the batch's records, so that the
// records of a message are written only if the message was. A message stays
// whole: it is in all its queues or in none, and alone with more than
// store.MaxTargets of them it is refused. Done is called once, after the last
// commit. Power that fails between two commits makes a message of the first one
// come again from its sender unrecognised, as one without an id would.
func (q *request) appendInParts() {
	errs := make([]error, len(q.Items))
	for from := 0; from < len(q.Items); {
		n, err := part(q.Items[from:])
		if err != nil {
			errs[from] = err
		} else {
			q.appendPart(q.Items[from:from+n], errs[from:from+n])
		}
		from += n
	}
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		q.parts = q.results(errs)
	}
	q.dropItems()
	q.r.store.Append(&q.Request)
}

// appendPart appends items, waits for their commit and fills in their errors.
func (q *request) appendPart(items []store.Item, errs []error) {
	done := make(chan struct{})
	q.r.store.Append(&store.Request{Items: items, Done: func(_ *store.Request, got []error) {
		copy(errs, got)
		close(done)
	}})
	<-done
}

// part returns how many of the items, one at least, go into one request. The
// error says that the first one does not go into any.
func part(items []store.Item) (n int, err error) {
	type block struct {
		queue    string
		priority uint8
	}
	blocks, bytes := make(map[block]struct{}), 0
	for i := range items {
		for _, t := range items[i].Targets {
			blocks[block{t.Queue, t.Priority}] = struct{}{}
		}
		bytes += len(items[i].Data) * len(items[i].Targets)
		if i == 0 && len(blocks) > store.MaxTargets {
			return 1, ErrTooManyTargets
		}
		if i > 0 && (len(blocks) > partBlocks || bytes > partBytes) {
			return i, nil
		}
	}
	return len(items), nil
}
