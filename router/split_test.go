package router

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// wide returns n messages, each for per persistent sessions of its own and one
// that all share.
func wide(n, per int) []message.Message {
	ms := make([]message.Message, n)
	for i := range ms {
		ms[i] = withID(plain("x", fmt.Sprint(i)), fmt.Sprint(i))
		ms[i].Sessions = append(ms[i].Sessions, message.Target{Queue: "session/all", Rule: "session"})
		for j := range per {
			ms[i].Sessions = append(ms[i].Sessions, message.Target{Queue: fmt.Sprintf("session/%d-%d", i, j), Rule: "session"})
		}
	}
	return ms
}

func TestBatchForMoreQueuesThanOneCommitTakes(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	batch := wide(3, 1000)
	tooWide := wide(1, store.MaxTargets)[0]
	tooWide.System = []message.Property{{Name: message.SysMessageID, Value: "wide"}}
	batch = slices.Insert(batch, 1, tooWide)
	asked := 0
	var refused []error
	send := func() []error {
		return b.acceptBatch(&message.Batch{Messages: batch, Records: func(errs []error) []message.Record {
			asked++
			refused = errs
			return []message.Record{{Bucket: "qos2", Key: "k", Value: []byte("v")}}
		}})
	}
	errs := send()
	if len(errs) != 4 || errs[0] != nil || !errors.Is(errs[1], ErrTooManyTargets) || errs[2] != nil || errs[3] != nil {
		t.Fatalf("answers are %v", errs)
	}
	if asked != 1 || len(refused) != 4 || refused[1] == nil || refused[0] != nil {
		t.Errorf("records were asked for %d times, with %v", asked, refused)
	}
	if v, err := b.store.Get("qos2", "k"); err != nil || string(v) != "v" {
		t.Errorf("the batch's record is %q, %v", v, err)
	}
	send() // is recognised
	if diff := cmp.Diff([]string{"0", "1", "2"}, b.bodies("session/all")); diff != "" {
		t.Errorf("the shared session (-want +got):\n%s", diff)
	}
	if n := len(b.waiting("session/2-999")); n != 1 {
		t.Errorf("%d messages in a session of the last one", n)
	}
	if l := b.Ledger(); l.Duplicates != 3 || l.Refused != 2 || !l.Total.Balanced || l.Total.Queued != 3*1001 {
		t.Errorf("ledger: %d duplicates, %d refused, total %+v", l.Duplicates, l.Refused, l.Total)
	}
}

// What one part could not store has no record, and the others have.
func TestPartThatIsNotCommitted(t *testing.T) {
	var commits atomic.Int32
	fault := errors.New("disk on fire")
	b := newBench(t, Config{}, store.Config{BeforeCommit: func() error {
		if commits.Add(-1) == 0 {
			return fault
		}
		return nil
	}}, nil)
	commits.Store(2)
	batch := wide(3, 1500)
	errs := b.accept(batch...)
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], fault) || errs[2] != nil {
		t.Fatalf("answers are %v, want the second part's to fail", errs)
	}
	if errs := b.accept(batch...); errs != nil {
		t.Fatal(errs)
	}
	if diff := cmp.Diff([]string{"0", "2", "1"}, b.bodies("session/all")); diff != "" {
		t.Errorf("after it was sent again (-want +got):\n%s", diff)
	}
}

func TestManyTargetsInFewQueuesAreOneCommit(t *testing.T) {
	ms := make([]message.Message, 100)
	b := newBench(t, Config{}, store.Config{}, nil)
	for i := range ms {
		ms[i] = plain("x", fmt.Sprint(i))
		for j := range 30 {
			ms[i].Sessions = append(ms[i].Sessions, message.Target{Queue: fmt.Sprintf("session/%d", j), Rule: "session"})
		}
	}
	if errs := b.accept(ms...); errs != nil {
		t.Fatal(errs)
	}
	items := make([]store.Item, len(ms))
	for i := range items {
		items[i].Targets = ms[i].Sessions
	}
	if n, err := part(items); n != len(items) || err != nil {
		t.Errorf("3000 targets in 30 queues: the first part has %d of 100 items, %v", n, err)
	}
	if n := len(b.waiting("session/29")); n != 100 {
		t.Errorf("%d messages in a queue, want 100", n)
	}
}

func TestPartsAreBoundedInBytes(t *testing.T) {
	item := store.Item{Data: make([]byte, 8<<20), Targets: make([]message.Target, 3)}
	if n, err := part([]store.Item{item, item, item}); n != 1 || err != nil {
		t.Errorf("three items of 24 MiB: %d in the first part, %v", n, err)
	}
}
