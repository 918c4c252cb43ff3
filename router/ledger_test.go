package router

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

func TestLedgerSaysHowFastAndHowOld(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().UnixMilli())
	clock := func() time.Time { return time.UnixMilli(now.Load()) }
	b := newBench(t, Config{Now: clock}, store.Config{Now: clock}, nil)
	swap(t, b.Router, byTopic{"a", "b"})
	send := func(n int) {
		t.Helper()
		ms := make([]message.Message, n)
		for i := range ms {
			ms[i] = plain("a", "1")
			ms[i].Accepted = now.Load()
		}
		if errs := b.accept(ms...); errs != nil {
			t.Fatal(errs)
		}
	}
	send(5)
	if f := b.figures("a"); f.Rate != 0 {
		t.Errorf("rate %v before there is anything to compare with", f.Rate)
	}
	now.Add(2000)
	send(40)
	if f := b.figures("a"); f.Rate != 20 || f.OldestAgeSeconds != 2 {
		t.Errorf("40 messages in two seconds: rate %v, oldest %v s", f.Rate, f.OldestAgeSeconds)
	}
	for range 30 {
		now.Add(1000)
		b.Ledger()
	}
	now.Add(1000)
	send(10)
	if f := b.figures("a"); f.Rate < 0.9 || f.Rate > 1.1 {
		t.Errorf("10 messages in the last ten seconds: rate %v", f.Rate)
	}
	if n := len(b.rates.snaps); n > 15 {
		t.Errorf("%d readings are kept", n)
	}
}

func TestLedgerIsReadableByMachines(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, to{"a"})
	if errs := b.accept(plain("x", "1")); errs != nil {
		t.Fatal(errs)
	}
	text, err := json.Marshal(b.Ledger())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Entries []map[string]any
		Total   map[string]any
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"accepted", "delivered", "queued", "expired", "dropped", "buried", "rate", "oldest_age_seconds", "balanced"} {
		if _, ok := got.Entries[0][key]; !ok {
			t.Errorf("an entry lacks %q: %s", key, text)
		}
		if _, ok := got.Total[key]; !ok {
			t.Errorf("the total lacks %q: %s", key, text)
		}
	}
}

func TestMetrics(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, sinks(map[string]Sink{"b": takeAll}))
	b.run()
	swap(t, b.Router, byTopic{"a", "b"})
	session := plain("b", "3")
	session.Sessions = []message.Target{{Queue: "session/1", Rule: "s1"}, {Queue: "session/2", Rule: "s2"}}
	if errs := b.accept(plain("a", "1"), withID(plain("b", "2"), "m"), withID(plain("b", "2"), "m"), plain("nowhere", "0"), session); errs != nil {
		t.Fatal(errs)
	}
	eventually(t, "b is drained", func() bool { return b.figures("b").Delivered == 2 })
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(b.Router); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			labels := []string{}
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			name := f.GetName()
			for _, l := range labels {
				name += " " + l
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"edgehub_messages_received_total queue=a rule=to-a":               1,
		"edgehub_messages_received_total queue=b rule=to-b":               2,
		"edgehub_messages_received_total queue=session rule=session":      2,
		"edgehub_messages_sent_total queue=b rule=to-b":                   2,
		"edgehub_queue_length queue=a":                                    1,
		"edgehub_queue_length queue=b":                                    0,
		"edgehub_queue_length queue=session":                              2,
		"edgehub_messages_unrouted_total":                                 1,
		"edgehub_messages_duplicate_total":                                1,
		"edgehub_messages_refused_total":                                  0,
		"edgehub_messages_dropped_total queue=a reason=expired rule=to-a": 0,
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
