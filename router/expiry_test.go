package router

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// week is a rule set that gives everything a week in queue "a", and half of the
// body in queue "t".
type week struct{ expires int64 }

func (w week) Match(_ *message.Message, dst []message.Target) []message.Target {
	return append(dst, message.Target{Queue: "a", Rule: "w", Expires: w.expires}, message.Target{Queue: "t", Rule: "w", Expires: w.expires})
}
func (week) Queues() []string { return []string{"a", "t"} }
func (week) Project(t *message.Target, m *message.Message) ([]byte, bool) {
	return m.Body[:1], t.Queue == "t"
}

// A device without a clock boots in 1970; when the network sets the clock, what
// it took before must not be a message of half a century ago.
func TestMessageOfAnUnsetClockDoesNotExpire(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	const accepted = 42_000
	ttl := int64(7 * 24 * time.Hour / time.Millisecond)
	swap(t, b.Router, week{accepted + ttl})
	m := plain("x", "early")
	m.Accepted, m.Expires = accepted, accepted+60_000
	m.Sessions = []message.Target{{Queue: "session/s", Rule: "session", Expires: m.Expires}}
	if errs := b.accept(m); errs != nil {
		t.Fatal(errs)
	}
	for _, queue := range []string{"a", "t", "session/s"} {
		ds := b.waiting(queue)
		if len(ds) != 1 || ds[0].Expire != 0 || ds[0].Expires != 0 {
			t.Errorf("queue %s holds %+v, want one message that never expires", queue, ds)
		}
	}
	q, err := b.store.Queue("a")
	if err != nil {
		t.Fatal(err)
	}
	if ds, err := q.Lease(nil, 10); err != nil || len(ds) != 1 {
		t.Errorf("leased with the clock set: %v, %v", ds, err)
	}
}

func TestSoonerExpiryCounts(t *testing.T) {
	now := time.Now().UnixMilli()
	var got []int64
	for _, c := range [][2]int64{{0, 0}, {now + 2, 0}, {0, now + 3}, {now + 2, now + 3}, {now + 3, now + 2}} {
		got = append(got, expiry(&message.Target{Expires: c[0]}, &message.Message{Accepted: now, Expires: c[1]}))
	}
	if diff := cmp.Diff([]int64{0, now + 2, now + 3, now + 2, now + 2}, got); diff != "" {
		t.Errorf("expiries (-want +got):\n%s", diff)
	}
}
