package ingress

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

func TestNothingIsAcknowledgedWhileTheStreamIsAway(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	mustAccept(t, g, sent("edge", "e1", 1, 5)...)
	c.stop()
	answer := accept(g, sent("edge", "e1", 6, 2000)...)
	single := accept(g, message.Message{Device: "direct"})
	eventually(t, "the fault is reported", func() bool { return g.Status().Fault != "" })
	select {
	case errs := <-answer:
		t.Fatalf("answered without a stream: %v", errs)
	default:
	}
	c.start()
	if errs := wait(t, answer); errs != nil {
		t.Fatal(errs)
	}
	if errs := wait(t, single); errs != nil {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(append(expected("edge", "e1", 1, 2000), "//0"), holdings(t, s)); diff != "" {
		t.Error(diff)
	}
	eventually(t, "the fault is over", func() bool { return g.Status().Fault == "" })
}

// A server that goes away again and again under load leaves attempts behind
// whose answers are lost; each message must still be there once.
func TestAmbiguousAnswersAreResolved(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	const batches, size = 120, 50
	answers := make(chan (<-chan []error), batches)
	go func() {
		defer close(answers)
		for i := range uint64(batches) {
			ms := sent("edge", "e1", i*size+1, (i+1)*size)
			// Half of them carry nothing to recognise them by but the commit.
			for j := range ms {
				if j%2 == 1 {
					ms[j].Origin = message.Origin{}
				}
			}
			answers <- accept(g, ms...)
		}
	}()
	n := 0
	for answer := range answers {
		if errs := wait(t, answer); errs != nil {
			t.Fatal(errs)
		}
		if n++; n%30 == 15 {
			c.stop()
			c.start()
		}
	}
	eventually(t, "the client is connected again", s.Conn().IsConnected)
	seen := map[string]int{}
	last := 0
	if _, err := s.Headers(ctx(t), 1, func(m *stream.Stored) error {
		got, err := stream.Decode(m.Header, nil)
		if err != nil {
			return err
		}
		seq := int(got.Accepted - 1_700_000_000_000) // helper sent counts in the time
		seen[strconv.Itoa(seq)]++
		if seq < last {
			t.Errorf("%d stored after %d", seq, last)
		}
		last = seq
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for seq := 1; seq <= batches*size; seq++ {
		if k := seen[strconv.Itoa(seq)]; k != 1 {
			t.Errorf("message %d is stored %d times", seq, k)
		}
	}
}

// The answer is lost although the attempt was stored: what a time-out looks like.
func TestStoredAttemptWithLostAnswerIsNotRepeated(t *testing.T) {
	for _, n := range []int{1, 7} {
		c := newCloud(t)
		s := c.open()
		g, err := New(ctx(t), s, Config{Snapshot: c.snapshot()}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		ms := make([]message.Message, n) // no origin, no message id
		w := &waiting{batch: &message.Batch{Messages: ms}}
		var chunk []*entry
		for i := range ms {
			chunk = append(chunk, &entry{w: w, i: i, m: &ms[i]})
		}
		if _, err := g.attempt(ctx(t), g.classify(chunk)); err != nil {
			t.Fatal(err)
		}
		g.commit(ctx(t), chunk) // knows nothing of the attempt but its name
		if got := len(holdings(t, s)); got != n || w.errs != nil {
			t.Errorf("%d messages stored %d times over, errs %v", n, got, w.errs)
		}
	}
}

// An attempt that lands after it was given up must be refused by the server.
func TestLateAttemptIsRefused(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	mustAccept(t, g, sent("edge", "e1", 1, 3)...)
	late, err := s.Encode(&sent("edge", "e1", 4, 4)[0])
	if err != nil {
		t.Fatal(err)
	}
	stamp(late.Header, "late", 0, 1, 3)
	mustAccept(t, g, sent("edge", "e1", 4, 4)...)
	reply, err := s.Conn().RequestMsg(late, patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answer(reply.Data, 4); err != errConflict {
		t.Errorf("late attempt: %v", err)
	}
	if diff := cmp.Diff(expected("edge", "e1", 1, 4), holdings(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestTwoHubsOnOneStreamAreSafe(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	one, _ := c.ingress(s, Config{Snapshot: c.dir + "/one"})
	two, _ := c.ingress(c.open(), Config{Snapshot: c.dir + "/two"})
	var answers []<-chan []error
	for i := range uint64(20) {
		ms := sent("edge", "e1", i*10+1, i*10+10)
		answers = append(answers, accept(one, ms...), accept(two, ms...))
	}
	for _, a := range answers {
		if errs := wait(t, a); errs != nil {
			t.Fatal(errs)
		}
	}
	if diff := cmp.Diff(expected("edge", "e1", 1, 200), holdings(t, s)); diff != "" {
		t.Error(diff)
	}
	mustAccept(t, two, sent("edge", "e1", 201, 201)...)
	if st := one.Ledger(Question{Device: "edge"}); st.Entries[0].Stored != 200 {
		t.Errorf("ledger of the first: %+v", st)
	}
}

func TestForeignMessagesOnTheSubjectsDoNoHarm(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	foreign := nats.NewMsg(stream.DefaultPrefix + ".somebody")
	foreign.Header.Set(stream.HeaderOrigin, "not an origin")
	if _, err := s.Conn().RequestMsg(foreign, patience); err != nil {
		t.Fatal(err)
	}
	mustAccept(t, g, sent("edge", "e1", 1, 3)...)
	if l := g.Ledger(Question{}); l.Last != 4 || len(l.Entries) != 1 || l.Entries[0].Stored != 3 {
		t.Errorf("ledger: %+v", l)
	}
}

func TestIndexIsRebuiltWhenTheStreamWasReplaced(t *testing.T) {
	c := newCloud(t)
	s := c.open()
	g, _ := c.ingress(s, Config{})
	mustAccept(t, g, sent("edge", "e1", 1, 30)...)
	if err := s.JetStream().DeleteStream(ctx(t), stream.DefaultName); err != nil {
		t.Fatal(err)
	}
	again := c.open()
	mustAccept(t, g, sent("edge", "e1", 31, 32)...)
	mustAccept(t, g, sent("edge", "e1", 1, 2)...)
	if diff := cmp.Diff([]string{"edge/e1/31", "edge/e1/32", "edge/e1/1", "edge/e1/2"}, holdings(t, again)); diff != "" {
		t.Error(diff)
	}
}
