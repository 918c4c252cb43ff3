package ingress

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestEveryMessageIsStoredOnceInOrder(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	first := accept(g, sent("edge", "e1", 1, 2500)...) // more than one atomic batch takes
	second := accept(g, sent("edge", "e1", 2501, 2501)...)
	if errs := wait(t, first); errs != nil {
		t.Fatal(errs)
	}
	if errs := wait(t, second); errs != nil {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(expected("edge", "e1", 1, 2501), holdings(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestDuplicatesAreAcknowledgedAndNotStored(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	ms := sent("edge", "e1", 1, 10)
	mustAccept(t, g, append(ms, ms[3])...) // one twice in a batch
	mustAccept(t, g, ms[5:]...)
	mustAccept(t, g, sent("edge", "e2", 1, 1)...) // another life of the store
	if diff := cmp.Diff(append(expected("edge", "e1", 1, 10), "edge/e2/1"), holdings(t, s)); diff != "" {
		t.Error(diff)
	}
	l := g.Ledger(Question{Device: "edge"})
	want := []Entry{
		{Device: "edge", Epoch: "e1", Stored: 10, Duplicates: 6, Floor: 1, Ranges: []Range{{1, 10}}},
		{Device: "edge", Epoch: "e2", Stored: 1, Floor: 1, Ranges: []Range{{1, 1}}},
	}
	if diff := cmp.Diff(want, l.Entries); diff != "" {
		t.Error(diff)
	}
}

func TestDuplicatesAreKnownAfterRestarts(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, string){
		"with the snapshot": func(*testing.T, string) {},
		"without it": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"with a damaged one": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(snapshotMagic+"nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			g, stop := c.ingress(c.open(), Config{})
			direct := message.Message{Device: "direct", System: []message.Property{{Name: message.SysMessageID, Value: "m-1"}}}
			mustAccept(t, g, append(sent("edge", "e1", 1, 50), direct)...)
			stop()
			c.stop()
			prepare(t, c.snapshot())
			c.start()
			s := c.open()
			g, _ = c.ingress(s, Config{})
			mustAccept(t, g, append(sent("edge", "e1", 40, 60), direct)...)
			want := append(append(expected("edge", "e1", 1, 50), "//0"), expected("edge", "e1", 51, 60)...)
			if diff := cmp.Diff(want, holdings(t, s)); diff != "" {
				t.Error(diff)
			}
			if l := g.Ledger(Question{}); l.Direct != 1 || l.DirectDuplicates != 1 || l.Entries[0].Duplicates != 11 {
				t.Errorf("ledger: %+v", l)
			}
		})
	}
}

func TestSnapshotOutlivesRetention(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, stop := c.ingress(s, Config{})
	mustAccept(t, g, sent("edge", "e1", 1, 20)...)
	stop()
	js, err := s.JetStream().Stream(ctx(t), stream.DefaultName)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Purge(ctx(t)); err != nil {
		t.Fatal(err)
	}
	g, _ = c.ingress(s, Config{})
	mustAccept(t, g, sent("edge", "e1", 1, 21)...)
	if diff := cmp.Diff([]string{"edge/e1/21"}, holdings(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestMessageIDWithoutOriginIsRecognised(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	m := message.Message{Device: "d", System: []message.Property{{Name: message.SysMessageID, Value: "1"}}}
	other := m
	other.Device = "e"
	anonymous := message.Message{Device: "d"}
	mustAccept(t, g, m, m, other, anonymous, anonymous)
	mustAccept(t, g, m)
	if got := len(holdings(t, s)); got != 4 {
		t.Errorf("%d messages stored, want 4", got)
	}
	if l := g.Ledger(Question{}); l.Direct != 4 || l.DirectDuplicates != 2 {
		t.Errorf("ledger: %+v", l)
	}
}

func TestTooLargeIsRefusedAndOthersAreTaken(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	ms := sent("edge", "e1", 1, 4)
	ms[1].Body = make([]byte, 4<<20)
	ms[2].Properties = []message.Property{{Name: "p", Value: strings.Repeat("\n", 40_000)}} // more than headers hold
	again := ms[1]
	errs := wait(t, accept(g, append(ms, again)...))
	if errs == nil || errs[0] != nil || !errors.Is(errs[1], stream.ErrTooLarge) || errs[2] != nil || errs[3] != nil || errs[4] == nil {
		t.Errorf("errs = %v", errs)
	}
	if diff := cmp.Diff([]string{"edge/e1/1", "edge/e1/3", "edge/e1/4"}, holdings(t, s)); diff != "" {
		t.Error(diff)
	}
}

// Where headers stand behind the body a restart reads neither, and must know the
// message all the same.
func TestLargeMessageIDIsKnownAfterARestart(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	m := message.Message{
		Kind: message.Plain, Topic: strings.Repeat("\n", 30_000), Device: "d",
		System: []message.Property{{Name: message.SysMessageID, Value: strings.Repeat("i", 5000)}},
	}
	other := m
	other.Topic = m.Topic[1:]
	g, stop := c.ingress(s, Config{})
	mustAccept(t, g, m, m)
	stop()
	g, _ = c.ingress(s, Config{})
	mustAccept(t, g, m, other)
	if l := g.Ledger(Question{}); l.Direct != 2 || l.DirectDuplicates != 2 {
		t.Errorf("ledger: %+v", l)
	}
}

// The stream's own limit is met only when it answers: the rest of the batch must
// still go in, in order.
func TestStreamsOwnLimitIsFoundByHalving(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	info, err := s.JetStream().Stream(ctx(t), stream.DefaultName)
	if err != nil {
		t.Fatal(err)
	}
	cfg := info.CachedInfo().Config
	cfg.MaxMsgSize = 1000
	if _, err := s.JetStream().UpdateStream(ctx(t), cfg); err != nil {
		t.Fatal(err)
	}
	g, _ := c.ingress(s, Config{})
	ms := sent("edge", "e1", 1, 9)
	ms[4].Body = make([]byte, 2000)
	errs := wait(t, accept(g, ms...))
	for i, err := range errs {
		if (i == 4) != errors.Is(err, ErrRefused) {
			t.Errorf("message %d: %v", i+1, err)
		}
	}
	if diff := cmp.Diff(append(expected("edge", "e1", 1, 4), expected("edge", "e1", 6, 9)...), holdings(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestClosedIngressAnswersWithErrClosed(t *testing.T) {
	c := newCloud(t)
	g, stop := c.ingress(c.open(), Config{})
	stop()
	errs := wait(t, accept(g, sent("edge", "e1", 1, 2)...))
	if len(errs) != 2 || !errors.Is(errs[0], ErrClosed) || !errors.Is(errs[1], ErrClosed) {
		t.Errorf("errs = %v", errs)
	}
}

func TestWaitingMemoryIsBounded(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, err := New(ctx(t), s, Config{Snapshot: c.snapshot(), WaitingBytes: 4 * overhead}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	first := accept(g, sent("edge", "e1", 1, 3)...) // nothing runs yet
	entered, passed := make(chan struct{}), make(chan struct{})
	answer := make(chan []error, 1)
	go func() {
		close(entered)
		g.Accept(&message.Batch{Messages: sent("edge", "e1", 4, 6), Done: func(_ *message.Batch, errs []error) { answer <- errs }})
		close(passed)
	}()
	<-entered
	if st := g.Status(); st.Waiting > 1 {
		t.Errorf("a batch beyond the bound was queued: %+v", st)
	}
	run(t, g)
	wait(t, first)
	<-passed
	wait(t, answer)
	if diff := cmp.Diff(expected("edge", "e1", 1, 6), holdings(t, s)); diff != "" {
		t.Error(diff)
	}
	if st := g.Status(); st.WaitingBytes != 0 {
		t.Errorf("bytes still counted: %+v", st)
	}
}

func TestNewFailsWithoutStream(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	cctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New(cctx, s, Config{}, quiet()); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}
