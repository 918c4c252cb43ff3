package router

import (
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// mix leases from a queue: in its own order, or, after an outage, live and
// backlog messages by ratio until the backlog is gone.
type mix struct {
	q       Queue
	lanes   lanes // nil: strict order
	ratio   Lanes
	backlog bool // something may be left of it
	turn    int  // position in the cycle of Live+Backlog messages
	buf     [2][]message.Delivery
}

func newMix(q Queue, ratio Lanes) mix {
	m := mix{q: q, ratio: ratio}
	if l, ok := q.(lanes); ok && ratio.on() {
		m.lanes = l
	}
	return m
}

// split makes everything that waits now the backlog.
func (m *mix) split() {
	if m.lanes != nil {
		m.lanes.Split()
		m.backlog = true
	}
}

// lease appends up to n deliveries to dst in the order to start them.
func (m *mix) lease(dst []message.Delivery, n int) ([]message.Delivery, error) {
	if !m.backlog {
		return m.q.Lease(dst, n)
	}
	live, old := m.shares(n)
	if err := m.take(store.Live, live); err != nil {
		return dst, err
	}
	// Each lane gets what the other leaves.
	if err := m.take(store.Backlog, old+live-len(m.buf[store.Live])); err != nil {
		return dst, err
	}
	if short := n - len(m.buf[store.Live]) - len(m.buf[store.Backlog]); short > 0 {
		m.backlog = len(m.buf[store.Backlog]) > 0
		if err := m.more(store.Live, short); err != nil {
			return dst, err
		}
	}
	return m.merge(dst), nil
}

// shares divides n places between the lanes, going on in the cycle.
func (m *mix) shares(n int) (live, backlog int) {
	cycle := m.ratio.Live + m.ratio.Backlog
	live = n / cycle * m.ratio.Live
	for i := range n % cycle {
		if (m.turn+i)%cycle < m.ratio.Live {
			live++
		}
	}
	return live, n - live
}

func (m *mix) take(l store.Lane, n int) error {
	m.buf[l] = m.buf[l][:0]
	return m.more(l, n)
}

func (m *mix) more(l store.Lane, n int) (err error) {
	if n > 0 {
		m.buf[l], err = m.lanes.LeaseLane(l, m.buf[l], n)
	}
	return err
}

// merge appends both lanes to dst in the cycle's order.
func (m *mix) merge(dst []message.Delivery) []message.Delivery {
	live, old := m.buf[store.Live], m.buf[store.Backlog]
	for len(live)+len(old) > 0 {
		if len(old) == 0 || len(live) > 0 && m.turn < m.ratio.Live {
			dst, live = append(dst, live[0]), live[1:]
		} else {
			dst, old = append(dst, old[0]), old[1:]
		}
		m.turn = (m.turn + 1) % (m.ratio.Live + m.ratio.Backlog)
	}
	clear(m.buf[store.Live])
	clear(m.buf[store.Backlog])
	return dst
}
