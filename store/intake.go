package store

import (
	"sync"
	"time"

	"github.com/penstock-io/penstock/message"
)

// op is one thing the writer does; all of it is in one commit. Operations are
// committed in the order they were put.
type op struct {
	parts    []part
	records  []message.Record
	queues   []*Queue // whose settlements must be in the commit
	bytes    int64    // what it takes of the intake
	messages int
	weight   weight // without the settlements of queues
	eager    bool
	keep     bool // a settlement: after a failed commit it is tried again

	// apply adds to the commit on the writer; an error fails this op alone. It is
	// called again if the commit failed and the operation is tried again.
	apply func(*commit) error
	done  func(error) // on the completion goroutine

	req  *Request
	errs []error
}

// intake is the bounded list of operations that wait for the writer.
type intake struct {
	mu     sync.Mutex
	room   sync.Cond
	ops    []*op
	dirty  []*Queue
	bytes  int64
	max    int64
	eager  int
	closed bool
	wake   chan struct{} // capacity 1: something eager waits, or the intake was closed
	lazy   chan struct{} // capacity 1: something waits
}

func newIntake(max int64) *intake {
	in := &intake{max: max, wake: make(chan struct{}, 1), lazy: make(chan struct{}, 1)}
	in.room.L = &in.mu
	return in
}

// put hands an operation to the writer; it waits while the intake is full. After
// close the operation completes at once with ErrClosed.
func (in *intake) put(o *op) {
	in.mu.Lock()
	for in.bytes > 0 && in.bytes+o.bytes > in.max && !in.closed {
		in.room.Wait()
	}
	if in.closed {
		in.mu.Unlock()
		o.complete(ErrClosed)
		return
	}
	in.ops = append(in.ops, o)
	in.bytes += o.bytes
	if o.eager {
		in.eager++
	}
	in.mu.Unlock()
	in.signal(o.eager)
}

func (in *intake) signal(eager bool) {
	c := in.lazy
	if eager {
		c = in.wake
	}
	select {
	case c <- struct{}{}:
	default:
	}
}

// addDirty notes that a queue has settlements to write.
func (in *intake) addDirty(q *Queue) {
	in.mu.Lock()
	in.dirty = append(in.dirty, q)
	in.mu.Unlock()
	in.signal(false)
}

// take removes operations from the front as long as fits says so.
func (in *intake) take(fits func(*op) bool) (ops []*op) {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for n < len(in.ops) && fits(in.ops[n]) {
		in.bytes -= in.ops[n].bytes
		if in.ops[n].eager {
			in.eager--
		}
		n++
	}
	ops = append(ops, in.ops[:n]...)
	clear(in.ops[:n])
	in.ops = in.ops[n:]
	if len(in.ops) == 0 {
		in.ops = nil
	}
	in.room.Broadcast()
	return ops
}

// takeDirty removes the dirty queues.
func (in *intake) takeDirty() []*Queue {
	in.mu.Lock()
	defer in.mu.Unlock()
	d := in.dirty
	in.dirty = nil
	return d
}

// putBack returns operations that were taken to the front.
func (in *intake) putBack(ops []*op) {
	if len(ops) == 0 {
		return
	}
	in.mu.Lock()
	in.ops = append(ops, in.ops...)
	eager := false
	for _, o := range ops {
		in.bytes += o.bytes
		if o.eager {
			in.eager++
			eager = true
		}
	}
	in.mu.Unlock()
	in.signal(eager)
}

// pending says what waits.
func (in *intake) pending() (eager, lazy, closed bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.eager > 0, len(in.ops) > 0 || len(in.dirty) > 0, in.closed
}

func (in *intake) close() {
	in.mu.Lock()
	in.closed = true
	in.room.Broadcast()
	in.mu.Unlock()
	in.signal(true)
}

// wait returns when there is reason to commit: something eager, or something
// lazy that has waited for delay, or the end. It returns false at the end.
func (in *intake) wait(delay time.Duration, tasks <-chan func()) bool {
	for {
		eager, lazy, closed := in.pending()
		switch {
		case closed:
			return lazy
		case eager:
			return true
		case !lazy:
			select {
			case <-in.wake:
			case <-in.lazy:
			case f := <-tasks:
				f()
			}
		default:
			t := time.NewTimer(delay)
			select {
			case <-in.wake:
				t.Stop()
			case f := <-tasks:
				t.Stop()
				f()
			case <-t.C:
				return true
			}
		}
	}
}

// complete reports the end of an operation to whoever asked for it.
func (o *op) complete(err error) {
	if o.done != nil {
		o.done(err)
	}
	if o.req == nil {
		return
	}
	for i := range o.errs {
		if err != nil && o.errs[i] == nil {
			o.errs[i] = err
		}
	}
	errs := o.errs
	if err != nil && errs == nil {
		errs = make([]error, len(o.req.Items))
		for i := range errs {
			errs[i] = err
		}
	}
	if o.req.Done != nil {
		o.req.Done(o.req, errs)
	}
}
