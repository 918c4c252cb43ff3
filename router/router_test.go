package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

func TestAcceptPutsEachMessageInItsQueues(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, byTopic{"a", "b"})
	session := plain("none", "4")
	session.Sessions = []message.Target{{Queue: "session/x", Rule: "session", Meta: []byte{7}}}
	session.Expires = 1 << 50
	errs := b.accept(plain("a", "1"), plain("b+a", "2"), plain("nowhere", "3"), session)
	if errs != nil {
		t.Fatal(errs)
	}
	got := map[string][]string{"a": b.bodies("a"), "b": b.bodies("b"), "session/x": b.bodies("session/x")}
	want := map[string][]string{"a": {"1", "2"}, "b": {"2"}, "session/x": {"4"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
	if d := b.waiting("session/x")[0]; d.Expire != 1<<50 || d.Rule != "session" || !slices.Equal(d.Meta, []byte{7}) {
		t.Errorf("the session's delivery is %+v", d)
	}
	l := b.Ledger()
	if l.Received != 4 || l.Unrouted != 1 || !l.Total.Balanced || l.Total.Accepted != 4 || l.Total.Queued != 4 {
		t.Errorf("ledger %+v", l)
	}
}

func TestLocalBatchIsNotRoutedAgain(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, to{"a"})
	m := plain("alerts", "1")
	m.Sessions = []message.Target{{Queue: "session/x", Rule: "session"}}
	if errs := b.acceptBatch(&message.Batch{Local: true, Messages: []message.Message{m, plain("alerts", "2")}}); errs != nil {
		t.Fatal(errs)
	}
	if n := len(b.waiting("a")); n != 0 {
		t.Errorf("rules saw %d messages of a local batch", n)
	}
	if n := len(b.waiting("session/x")); n != 1 || b.Ledger().Unrouted != 0 {
		t.Errorf("%d messages in the session's queue, %d unrouted", n, b.Ledger().Unrouted)
	}
}

func TestRecordsAreWrittenWithTheBatch(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	errs := b.acceptBatch(&message.Batch{
		Messages: []message.Message{withID(plain("nowhere", "1"), "m-1")},
		Records: func([]error) []message.Record {
			return []message.Record{{Bucket: "qos2", Key: "k", Value: []byte("v")}}
		},
	})
	if errs != nil {
		t.Fatal(errs)
	}
	if v, err := b.store.Get("qos2", "k"); err != nil || string(v) != "v" {
		t.Errorf("the batch's record is %q, %v", v, err)
	}
}

// halves sends the temperature to "t" and the whole message to "w".
type halves struct{ to }

func (halves) Project(t *message.Target, m *message.Message) ([]byte, bool) {
	if t.Queue != "t" {
		return nil, false
	}
	return append([]byte("only "), m.Body[:1]...), true
}

func TestProjectionReplacesTheBodyInItsQueueOnly(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, halves{to{"t", "w"}})
	first := plain("x", "12")
	first.System = []message.Property{{Name: message.SysContentType, Value: "text/plain"}, {Name: message.SysSubject, Value: "s"}}
	if errs := b.accept(first, plain("x", "34")); errs != nil {
		t.Fatal(errs)
	}
	system := [][]message.Property{b.waiting("t")[0].System, b.waiting("w")[0].System}
	want := [][]message.Property{{
		{Name: message.SysSubject, Value: "s"},
		{Name: message.SysContentType, Value: "application/json"}, {Name: message.SysContentEncoding, Value: "utf-8"},
	}, first.System}
	if diff := cmp.Diff(want, system); diff != "" {
		t.Errorf("system properties (-want +got):\n%s", diff)
	}
	got := [][]string{b.bodies("t"), b.bodies("w")}
	if diff := cmp.Diff([][]string{{"only 1", "only 3"}, {"12", "34"}}, got); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

func TestErrorsReachTheirMessages(t *testing.T) {
	refused := errors.New("quota, in the broker's words")
	cfg := Config{Refusal: func(err error) error {
		if errors.Is(err, store.ErrQuota) {
			return refused
		}
		return err
	}}
	b := newBench(t, cfg, store.Config{}, nil)
	swap(t, b.Router, byTopic{"small", "large"})
	q, err := b.store.Queue("small")
	if err != nil {
		t.Fatal(err)
	}
	q.SetLimit(200, store.Reject)
	big := strings.Repeat("x", 300)
	errs := b.accept(plain("nowhere", "0"), plain("small", big), plain("large", big), plain("small+large", big))
	want := []error{nil, refused, nil, refused}
	if !slices.Equal(errs, want) {
		t.Errorf("answers are %v, want %v", errs, want)
	}
	if n := len(b.waiting("large")); n != 1 {
		t.Errorf("%d messages in the other queue: a message is in all its queues or in none", n)
	}
	if l := b.Ledger(); l.Refused != 2 || !l.Total.Balanced {
		t.Errorf("ledger %+v", l)
	}
}

func TestFailedCommitIsNeverAcknowledged(t *testing.T) {
	var fail atomic.Bool
	fault := errors.New("disk on fire")
	b := newBench(t, Config{}, store.Config{BeforeCommit: func() error {
		if fail.Load() {
			return fault
		}
		return nil
	}}, nil)
	swap(t, b.Router, to{"a"})
	fail.Store(true)
	errs := b.accept(plain("x", "1"), plain("x", "2"))
	if len(errs) != 2 || !errors.Is(errs[0], fault) || !errors.Is(errs[1], fault) {
		t.Errorf("answers are %v", errs)
	}
}

func TestBatchesOfOneSenderCompleteInOrder(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, byTopic{"a"})
	const n = 300
	got := make(chan int, n)
	for i := range n {
		topic := "a"
		if i%3 == 0 {
			topic = "nowhere" // completes in its turn, not at once
		}
		b.Accept(&message.Batch{
			Messages: []message.Message{withID(plain(topic, fmt.Sprint(i)), fmt.Sprint(i/2))},
			Done:     func(*message.Batch, []error) { got <- i },
		})
	}
	for i := range n {
		if g := <-got; g != i {
			t.Fatalf("answer %d belongs to batch %d", i, g)
		}
	}
}

func TestSwapUnderLoad(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	sets := []Rules{to{"a"}, to{"b"}, to{"a", "b"}}
	swap(t, b.Router, sets[0])
	var senders sync.WaitGroup
	var acked atomic.Uint64
	const batches, size = 40, 25
	for range 4 {
		senders.Go(func() {
			for range batches {
				ms := make([]message.Message, size)
				for i := range ms {
					ms[i] = plain("x", "{}")
				}
				if errs := b.accept(ms...); errs == nil {
					acked.Add(size)
				}
			}
		})
	}
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				swap(t, b.Router, sets[i%len(sets)])
			}
		}
	})
	senders.Wait()
	close(stop)
	swapper.Wait()
	l := b.Ledger()
	if acked.Load() != 4*batches*size || l.Unrouted != 0 || l.Total.Queued < acked.Load() || !l.Total.Balanced {
		t.Errorf("%d acknowledged, ledger %+v", acked.Load(), l)
	}
}

func TestSwapThatFailsChangesNothing(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, func(string) (Sink, PumpConfig, bool) { return new(held), PumpConfig{}, true })
	swap(t, b.Router, to{"a"})
	if err := b.Swap(to{"b", ""}); !errors.Is(err, store.ErrName) {
		t.Fatalf("swap to a nameless queue: %v", err)
	}
	if errs := b.accept(plain("x", "1")); errs != nil {
		t.Fatal(errs)
	}
	if len(b.waiting("a")) != 1 || len(b.waiting("b")) != 0 {
		t.Error("the refused rule set is in force")
	}
}

// fragile is a rule set that panics on one topic.
type fragile struct{ to }

func (f fragile) Match(m *message.Message, dst []message.Target) []message.Target {
	if m.Topic == "boom" {
		panic("index out of range")
	}
	return f.to.Match(m, dst)
}

func TestPanicOfTheRulesRefusesItsBatchOnly(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, fragile{to{"a"}})
	batch := []message.Message{withID(plain("x", "1"), "m-1"), withID(plain("boom", "2"), "m-2")}
	errs := b.acceptBatch(&message.Batch{Messages: batch, Records: func([]error) []message.Record {
		t.Error("a batch that is refused whole was asked for its records")
		return nil
	}})
	if len(errs) != 2 || !errors.Is(errs[0], ErrRules) || !errors.Is(errs[1], ErrRules) {
		t.Fatalf("answers are %v", errs)
	}
	swap(t, b.Router, to{"a"})
	if errs := b.accept(batch...); errs != nil {
		t.Fatal(errs)
	}
	if diff := cmp.Diff([]string{"1", "2"}, b.bodies("a")); diff != "" {
		t.Errorf("queue after the rules were mended (-want +got):\n%s", diff)
	}
	if l := b.Ledger(); l.Refused != 2 || !l.Total.Balanced {
		t.Errorf("ledger %+v", l)
	}
}
