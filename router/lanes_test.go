package router

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

func (b *bench) fill(topic, prefix string, n int) {
	b.t.Helper()
	for i := range n {
		if errs := b.accept(plain(topic, fmt.Sprint(prefix, i))); errs != nil {
			b.t.Fatal(errs)
		}
	}
}

func bodiesOf(ds []message.Delivery) (bodies []string) {
	for _, d := range ds {
		bodies = append(bodies, string(d.Body))
	}
	return bodies
}

func TestLanesShareByRatioWhileBothWait(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, to{"a"})
	b.fill("x", "old", 6)
	q, err := b.store.Queue("a")
	if err != nil {
		t.Fatal(err)
	}
	m := newMix(q, Lanes{Live: 3, Backlog: 1})
	m.split()
	b.fill("x", "new", 7)
	var got []string
	for _, n := range []int{5, 1, 2, 4} { // the ratio holds across leases of any size
		ds, err := m.lease(nil, n)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, bodiesOf(ds)...)
	}
	want := []string{
		"new0", "new1", "new2", "old0", "new3", "new4", "new5", "old1",
		"new6", "old2", "old3", "old4", // what one lane does not need the other gets
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of leases (-want +got):\n%s", diff)
	}
	b.fill("x", "late", 2)
	ds, err := m.lease(nil, 10)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"late0", "late1", "old5"}, bodiesOf(ds)); diff != "" {
		t.Errorf("the rest (-want +got):\n%s", diff)
	}
	if ds, err = m.lease(nil, 10); len(ds) != 0 || err != nil || m.backlog {
		t.Errorf("an empty queue: %v, %v, backlog %v", bodiesOf(ds), err, m.backlog)
	}
}

func TestFreshMessagesDoNotWaitBehindTheBacklog(t *testing.T) {
	for _, c := range []struct {
		lanes Lanes
		want  []string
	}{
		{Lanes{Live: 3, Backlog: 1}, []string{"new0", "new1", "new2", "old4"}},
		{Lanes{}, []string{"old4", "old5", "old6", "old7"}},
	} {
		line := new(held)
		b := newBench(t, Config{DrainTime: 1}, store.Config{}, nil)
		swap(t, b.Router, to{"a"})
		b.fill("x", "old", 8)
		attach(t, b.Router, "a", line, PumpConfig{Window: 4, Lanes: c.lanes, RetryBase: 1, RetryMax: 1})
		b.run()
		for _, d := range line.await(t, 4) {
			d.done(ErrUnavailable)
		}
		first := line.await(t, 4) // the outage is over; all that waits is backlog
		b.fill("x", "new", 8)
		for _, d := range first {
			d.done(nil)
		}
		var got []string
		for _, d := range line.await(t, 4) {
			got = append(got, d.body)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("lanes %+v (-want +got):\n%s", c.lanes, diff)
		}
		b.stop()
	}
}

// await returns the next n deliveries.
func (h *held) await(t *testing.T, n int) (got []heldDelivery) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d deliveries", n), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.got) >= n
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	got, h.got = h.got[:n:n], h.got[n:]
	return got
}
