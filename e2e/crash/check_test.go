package crash

import (
	"encoding/json"
	"fmt"
	"time"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/internal/reconcile"
)

const drainTimeout = 5 * time.Minute

// arrival is what the stream holds of one device.
type arrival struct {
	last   uint64 // the highest number seen
	seen   map[uint64]int
	behind int // messages that came behind a later one
}

// check stops the publishers, lets everything arrive and holds the stream
// against their ledgers.
func (r *rig) check(w *crew) {
	t := r.t
	t.Helper()
	w.finish(t)
	r.drain(t.Context())
	got := r.arrivals()
	var acked, again, stored uint64
	connections := 0
	for _, p := range w.each {
		a := got[p.device]
		delete(got, p.device)
		if a == nil {
			a = &arrival{}
		}
		n := p.acked.Load()
		acked, again, connections = acked+n, again+p.again, connections+p.connections
		stored += uint64(len(a.seen))
		missing, double := 0, 0
		for i := uint64(1); i <= n; i++ {
			if a.seen[i] == 0 {
				missing++
			}
		}
		for i, times := range a.seen {
			if times > 1 {
				double++
			}
			if i > p.sent || i == 0 {
				t.Errorf("%s: message %d is in the stream and was never sent", p.device, i)
			}
		}
		if missing+double+a.behind > 0 {
			t.Errorf("%s: of %d acknowledged messages %d are missing, %d are there twice, %d are out of order", p.device, n, missing, double, a.behind)
		}
	}
	for device := range got {
		t.Errorf("messages of %q are in the stream, which never published", device)
	}
	r.checkLedgers(stored)
	t.Logf("%d messages acknowledged, %d in the stream, %d sent again, over %d connections", acked, stored, again, connections)
	if acked == 0 {
		t.Error("nothing was acknowledged: the test has tested nothing")
	}
}

func (r *rig) arrivals() map[string]*arrival {
	r.t.Helper()
	got := map[string]*arrival{}
	err := r.cloudAPI.Messages(r.t.Context(), cloud.Query{}, func(m *cloud.Message) error {
		var body struct {
			N      uint64 `json:"n"`
			Device string `json:"device"`
		}
		if err := json.Unmarshal(m.Body, &body); err != nil {
			return fmt.Errorf("message %d of the stream: %w", m.Seq, err)
		}
		if body.Device != m.Device {
			r.t.Errorf("message %d of the stream is of %s and carries the name of %s", m.Seq, body.Device, m.Device)
		}
		a := got[m.Device]
		if a == nil {
			a = &arrival{seen: map[uint64]int{}}
			got[m.Device] = a
		}
		a.seen[body.N]++
		if body.N < a.last {
			a.behind++
		}
		a.last = max(a.last, body.N)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// checkLedgers: the edge's accounts add up, and agree with the cloud's.
func (r *rig) checkLedgers(stored uint64) {
	t := r.t
	t.Helper()
	l, err := r.edgeAPI.Ledger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f := l.Total; !f.Balanced || f.Accepted != stored || f.Delivered != stored || f.Queued+f.Expired+f.Buried+f.DroppedTotal() != 0 {
		t.Errorf("the edge's ledger does not fit %d messages in the stream: %+v", stored, f)
	}
	rep, err := reconcile.Fetch(t.Context(), r.edgeAPI, r.cloudAPI)
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Balanced || rep.InCloud != stored || rep.Given != stored || rep.Waiting != 0 {
		t.Errorf("edge and cloud do not agree: %+v", rep)
	}
	t.Logf("the cloud refused %d duplicates", rep.Duplicates)
	for _, c := range []*child{r.edge, r.cloud} {
		if c.panicked() {
			t.Errorf("%s has panicked or raced", c.name)
		}
	}
}
