package router

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

func TestRepeatedMessageIsAppendedOnce(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, to{"a"})
	first := withID(plain("x", "same"), "m-1")
	if errs := b.accept(first, withID(plain("x", "same"), "m-1"), plain("x", "no id")); errs != nil {
		t.Fatal(errs)
	}
	other := first
	other.Device, other.Body = "press-8", []byte("other device")
	output := first
	output.Output, output.Body = "alerts", []byte("other output")
	if errs := b.accept(withID(plain("x", "same"), "m-1"), other, output, plain("x", "no id")); errs != nil {
		t.Fatal(errs)
	}
	want := []string{"same", "no id", "other device", "other output", "no id"}
	if diff := cmp.Diff(want, b.bodies("a")); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
	if l := b.Ledger(); l.Duplicates != 2 || !l.Total.Balanced {
		t.Errorf("ledger %+v", l)
	}
}

func TestRepetitionIsRecognisedAfterARestart(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, to{"a"})
	for i := range 3 {
		if errs := b.accept(withID(plain("x", fmt.Sprint(i)), fmt.Sprint(i))); errs != nil {
			t.Fatal(errs)
		}
	}
	b.restart(nil)
	swap(t, b.Router, to{"a"})
	for i := range 4 {
		if errs := b.accept(withID(plain("x", fmt.Sprint(i)), fmt.Sprint(i))); errs != nil {
			t.Fatal(errs)
		}
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "3"}, b.bodies("a")); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
}

func TestMessageOfAFailedCommitIsNotARepetition(t *testing.T) {
	var failures atomic.Int32
	fault := errors.New("disk on fire")
	b := newBench(t, Config{}, store.Config{BeforeCommit: func() error {
		if failures.Add(-1) >= 0 {
			return fault
		}
		return nil
	}}, nil)
	swap(t, b.Router, to{"a"})
	failures.Store(1)
	if errs := b.accept(withID(plain("x", "1"), "m-1"), withID(plain("x", "1"), "m-1")); len(errs) != 2 || errs[0] == nil || errs[1] == nil {
		t.Fatalf("answers after a failed commit: %v", errs)
	}
	if errs := b.accept(withID(plain("x", "1"), "m-1")); errs != nil {
		t.Fatal(errs)
	}
	if n := len(b.waiting("a")); n != 1 {
		t.Errorf("%d messages in the queue, want the one sent again", n)
	}
}

func TestRepetitionSharesTheFateOfAPendingMessage(t *testing.T) {
	var armed atomic.Bool
	reached, release := make(chan struct{}), make(chan error)
	b := newBench(t, Config{}, store.Config{BeforeCommit: func() error {
		if armed.CompareAndSwap(true, false) {
			close(reached)
			return <-release
		}
		return nil
	}}, nil)
	swap(t, b.Router, to{"a"})
	armed.Store(true)
	answers := make(chan error, 2)
	send := func() {
		b.Accept(&message.Batch{
			Messages: []message.Message{withID(plain("x", "1"), "m-1")},
			Done:     func(_ *message.Batch, errs []error) { answers <- errors.Join(errs...) },
		})
	}
	send()
	<-reached // the first is being committed
	send()
	release <- errors.New("disk on fire")
	if err := <-answers; err == nil || errors.Is(err, ErrUncommitted) {
		t.Errorf("the first copy was answered %v", err)
	}
	if err := <-answers; !errors.Is(err, ErrUncommitted) {
		t.Errorf("the repetition of a message that was lost was answered %v", err)
	}
}

// A commit can succeed without all of its messages: what was refused must not
// be taken for a repetition, not even by the next process.
func TestRefusedMessageIsNotARepetitionAfterARestart(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	b.run()
	swap(t, b.Router, byTopic{"small", "a"})
	q, err := b.store.Queue("small")
	if err != nil {
		t.Fatal(err)
	}
	q.SetLimit(10, store.Reject)
	batch := []message.Message{withID(plain("small", "refused"), "m-1"), withID(plain("a", "stored"), "m-2")}
	if errs := b.accept(batch...); errs == nil || errs[0] == nil || errs[1] != nil {
		t.Fatalf("answers are %v", errs)
	}
	b.restart(nil)
	swap(t, b.Router, byTopic{"small", "a"})
	if q, err = b.store.Queue("small"); err != nil {
		t.Fatal(err)
	}
	q.SetLimit(0, store.Reject)
	if errs := b.accept(batch...); errs != nil {
		t.Fatal(errs)
	}
	if diff := cmp.Diff([][]string{{"refused"}, {"stored"}}, [][]string{b.bodies("small"), b.bodies("a")}); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
}

func TestIDsAreForgottenAfterTheWindow(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().UnixMilli())
	clock := func() time.Time { return time.UnixMilli(now.Load()) }
	b := newBench(t, Config{RepeatWindow: time.Minute, Now: clock}, store.Config{}, nil)
	b.run()
	swap(t, b.Router, to{"a"})
	send := func(id string) {
		t.Helper()
		if errs := b.accept(withID(plain("x", id), id)); errs != nil {
			t.Fatal(errs)
		}
	}
	send("m-1")
	now.Add(time.Minute.Milliseconds())
	send("m-1") // just within
	now.Add(1)
	send("m-2")
	send("m-1")
	if diff := cmp.Diff([]string{"m-1", "m-2", "m-1"}, b.bodies("a")); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
	b.restart(nil) // the end of Run sweeps
	if n := len(b.seenRecords()); n != 2 {
		t.Errorf("%d records of ids on disk, want those of the last window: 2", n)
	}
}

func TestRememberedIDsAreBounded(t *testing.T) {
	b := newBench(t, Config{RepeatMax: 10}, store.Config{}, nil)
	b.run()
	swap(t, b.Router, to{"a"})
	for i := range 50 {
		if errs := b.accept(withID(plain("x", "1"), fmt.Sprint(i))); errs != nil {
			t.Fatal(errs)
		}
	}
	if n := len(b.seen.known); n != 10 {
		t.Errorf("%d ids in memory, want at most 10", n)
	}
	if errs := b.accept(withID(plain("x", "1"), "49"), withID(plain("x", "1"), "0")); errs != nil {
		t.Fatal(errs)
	}
	if n := len(b.waiting("a")); n != 51 {
		t.Errorf("%d messages, want the newest id known and the oldest forgotten: 51", n)
	}
	b.restart(nil)
	if n := len(b.seenRecords()); n > 10 {
		t.Errorf("%d records of ids on disk, want at most 10", n)
	}
}

func (b *bench) seenRecords() (keys []string) {
	b.t.Helper()
	err := b.store.Records(seenBucket, func(key string, _ []byte) error {
		keys = append(keys, key)
		return nil
	})
	if err != nil || !slices.IsSorted(keys) {
		b.t.Fatalf("records %v, %v", keys, err)
	}
	return keys
}

func TestClaimWaitsForTheFirstCopysPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSeen(time.Minute, 100)
		first := []mark{{id: digest{1}}}
		f := s.claim(first)
		claimed := make(chan mark, 1)
		go func() {
			second := []mark{{id: digest{1}}}
			s.claim(second)
			claimed <- second[0]
		}()
		synctest.Wait()
		select {
		case <-claimed:
			t.Fatal("a repetition went ahead of its first copy")
		default:
		}
		s.launched(f)
		if m := <-claimed; !m.dup || m.first != f {
			t.Errorf("the repetition is %+v", m)
		}
	})
}

func TestStampsNeverGoBack(t *testing.T) {
	s := newSeen(time.Minute, 100)
	now := time.Now()
	last := uint64(0)
	for _, jump := range []time.Duration{0, 0, -time.Hour, time.Hour, -24 * time.Hour} {
		now = now.Add(jump)
		st := s.nextStamp(now)
		if st <= last || stampKey(st) <= stampKey(last) {
			t.Errorf("stamp %s after %s", stampKey(st), stampKey(last))
		}
		last = st
	}
}

func FuzzLoadSeen(f *testing.F) {
	f.Add("0123456789abcdef", make([]byte, 32))
	f.Add("x", []byte{1})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		s := newSeen(time.Minute, 100)
		if err := s.load(key, value); err != nil {
			return
		}
		if len(s.groups) != 1 || len(s.groups[0].ids)*len(digest{}) != len(value) {
			t.Errorf("record %q of %d bytes became %v", key, len(value), s.groups)
		}
		s.forget(time.UnixMilli(1 << 60))
	})
}

// A device whose ids are a counter means another message by the same number
// after it began again: only the same body makes a repetition.
func TestReusedIDWithAnotherBodyIsAnotherMessage(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, to{"a"})
	for _, body := range []string{"before the restart", "after the restart", "after the restart"} {
		if errs := b.accept(withID(plain("x", body), "1")); errs != nil {
			t.Fatal(errs)
		}
	}
	if diff := cmp.Diff([]string{"before the restart", "after the restart"}, b.bodies("a")); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
}

func TestChildHubsResendIsRecognisedByItsOrigin(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, to{"a"})
	from := func(device, epoch string, seq uint64, body string) message.Message {
		m := plain("x", body)
		m.Origin = message.Origin{Device: device, Epoch: epoch, Seq: seq, Floor: seq / 2}
		return m
	}
	batch := []message.Message{
		from("child-1", "e1", 1, "first"),
		from("child-1", "e1", 2, "first"), // the same text again is a new message
		withID(from("child-1", "e1", 3, "third"), "m-1"),
		from("child-1", "e2", 1, "another life"),
		from("child-2", "e1", 1, "another child"),
	}
	want := []string{"first", "first", "third", "another life", "another child"}
	for range 2 {
		if errs := b.accept(batch...); errs != nil {
			t.Fatal(errs)
		}
		b.restart(nil)
		swap(t, b.Router, to{"a"})
	}
	again := from("child-1", "e1", 2, "first")
	again.Origin.Floor = 2 // the floor is news, not identity
	if errs := b.accept(again); errs != nil {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(want, b.bodies("a")); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
}
