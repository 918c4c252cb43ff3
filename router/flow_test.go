package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// consumer is a sink at the end of a bad line. What it hands to the line arrives
// in that order, up to the moment the line breaks; answers come in any order.
type consumer struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	faults  int // per cent
	open    []func(error)
	next    map[string]int // per source, the number to arrive next
	buried  int
	seen    int
	problem string
}

func newConsumer(seed uint64, faults int) *consumer {
	return &consumer{rnd: rand.New(rand.NewPCG(seed, 1)), faults: faults, next: make(map[string]int)}
}

func (c *consumer) Deliver(ctx context.Context, d *message.Delivery, done func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		done(ErrUnavailable)
		return
	}
	fault := -1
	if c.rnd.IntN(100) < c.faults {
		fault = c.rnd.IntN(4)
	}
	switch fault {
	case 0: // the line breaks before the message arrives
		done(fmt.Errorf("reset: %w", ErrUnavailable))
		c.hangUp()
	case 1: // the message arrives, its answer is lost with the line
		c.arrive(d)
		done(errors.New("reset"))
		c.hangUp()
	case 2:
		c.arrive(d)
		done(ErrRejected)
	case 3:
		c.arrive(d)
		c.buried++
		done(ErrPermanent)
	default:
		c.arrive(d)
		c.open = append(c.open, done)
		if len(c.open) == 1 || c.rnd.IntN(4) == 0 {
			go c.answerSome()
		}
	}
}

func (c *consumer) hangUp() {
	for _, done := range c.open {
		done(ErrUnavailable)
	}
	c.open = nil
}

func (c *consumer) answerSome() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rnd.Shuffle(len(c.open), func(i, j int) { c.open[i], c.open[j] = c.open[j], c.open[i] })
	for _, done := range c.open {
		done(nil)
	}
	c.open = nil
}

// arrive checks that the first arrivals of a source come in the order accepted.
func (c *consumer) arrive(d *message.Delivery) {
	n, err := strconv.Atoi(string(d.Body))
	if err != nil {
		c.problem = err.Error()
	}
	if n > c.next[d.Device] {
		c.problem = fmt.Sprintf("message %d of %s arrived, %d had not", n, d.Device, c.next[d.Device])
	}
	if n == c.next[d.Device] {
		c.next[d.Device]++
		c.seen++
	}
}

func TestEverythingArrivesInOrderWhateverTheSinkDoes(t *testing.T) {
	b := newBench(t, Config{}, store.Config{SettleDelay: time.Millisecond}, nil)
	b.run()
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		queue := fmt.Sprintf("q%d", round)
		c := newConsumer(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(0, 30).Draw(rt, "faults"))
		cfg := PumpConfig{Window: rapid.IntRange(1, 40).Draw(rt, "window"), RetryBase: time.Microsecond, RetryMax: time.Millisecond}
		swap(t, b.Router, to{queue})
		sent := make(map[string]int)
		total := 0
		attached := rapid.IntRange(0, 3).Draw(rt, "attach")
		for i, size := range rapid.SliceOfN(rapid.IntRange(1, 30), 1, 8).Draw(rt, "batches") {
			if i == attached {
				attach(t, b.Router, queue, c, cfg)
			}
			ms := make([]message.Message, size)
			for j := range ms {
				source := fmt.Sprintf("d%d", (i+j)%3)
				ms[j] = plain("x", strconv.Itoa(sent[source]))
				ms[j].Device = source
				sent[source]++
			}
			total += size
			if errs := b.accept(ms...); errs != nil {
				rt.Fatal(errs)
			}
		}
		if !b.pumped(queue) {
			attach(t, b.Router, queue, c, cfg)
		}
		eventually(t, "an empty queue", func() bool { return b.figures(queue).Queued == 0 })
		c.mu.Lock()
		defer c.mu.Unlock()
		f := b.figures(queue)
		if c.problem != "" || c.seen != total {
			rt.Errorf("%d of %d arrived; %s", c.seen, total, c.problem)
		}
		if !f.Balanced || f.Accepted != uint64(total) || f.Buried != uint64(c.buried) || f.Delivered+f.Buried != f.Accepted {
			rt.Errorf("%d accepted, %d buried, ledger %+v", total, c.buried, f)
		}
	})
}

func attach(t testing.TB, r *Router, queue string, s Sink, cfg PumpConfig) {
	t.Helper()
	if err := r.Attach(queue, s, cfg); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) figures(queue string) Figures {
	for _, e := range b.Ledger().Entries {
		if e.Queue == queue {
			return e.Figures
		}
	}
	return Figures{}
}

// sinks resolves queue names to the sinks of a map.
func sinks(m map[string]Sink) Sinks {
	return func(queue string) (Sink, PumpConfig, bool) {
		s := m[queue]
		return s, PumpConfig{RetryBase: time.Millisecond, RetryMax: 10 * time.Millisecond}, s != nil
	}
}

var takeAll = SinkFunc(func(_ context.Context, _ *message.Delivery, done func(error)) { done(nil) })

func TestStalledConsumerSlowsNobody(t *testing.T) {
	stalled := new(held)
	b := newBench(t, Config{DrainTime: time.Millisecond}, store.Config{}, sinks(map[string]Sink{"stuck": stalled, "fine": takeAll}))
	b.run()
	swap(t, b.Router, to{"stuck", "fine"})
	const n = 2000
	for range n / 100 {
		ms := make([]message.Message, 100)
		for i := range ms {
			ms[i] = plain("x", "{}")
		}
		if errs := b.accept(ms...); errs != nil {
			t.Fatal(errs)
		}
	}
	eventually(t, "the other consumer has everything", func() bool { return b.figures("fine").Delivered == n })
	stalled.mu.Lock()
	if n := len(stalled.got); n > 256 {
		t.Errorf("%d deliveries under way at the stalled one, beyond its window", n)
	}
	stalled.mu.Unlock()
	if f := b.figures("stuck"); f.Queued != n || !f.Balanced {
		t.Errorf("the stalled queue: %+v", f)
	}
}

func TestQueueWithoutARuleKeepsDraining(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, to{"old"})
	if errs := b.accept(plain("x", "1"), plain("x", "2")); errs != nil {
		t.Fatal(errs)
	}
	b.restart(sinks(map[string]Sink{"old": takeAll}))
	swap(t, b.Router, to{"new"})
	b.run()
	eventually(t, "the queue that no rule names is drained", func() bool { return b.figures("old").Delivered == 2 })
}

func TestRequeuedMessagesOfAQueueWithoutARuleAreDelivered(t *testing.T) {
	refuse := SinkFunc(func(_ context.Context, _ *message.Delivery, done func(error)) { done(ErrPermanent) })
	b := newBench(t, Config{}, store.Config{}, sinks(map[string]Sink{"old": refuse}))
	swap(t, b.Router, to{"old"})
	b.run()
	if errs := b.accept(plain("x", "1")); errs != nil {
		t.Fatal(errs)
	}
	eventually(t, "the message is buried", func() bool { return b.figures("old").Buried == 1 })
	b.restart(sinks(map[string]Sink{"old": takeAll}))
	swap(t, b.Router, to{"new"})
	b.run()
	q, err := b.store.Queue("old")
	if err != nil {
		t.Fatal(err)
	}
	dead, err := q.Dead(1, 10)
	if err != nil || len(dead) != 1 {
		t.Fatalf("dead letters %v, %v", dead, err)
	}
	if n, err := q.Requeue(dead[0].Seq); n != 1 || err != nil {
		t.Fatalf("requeued %d, %v", n, err)
	}
	b.Wake("old")
	b.Wake("nobody's")
	eventually(t, "what was put back is delivered", func() bool { return b.figures("old").Delivered == 1 })
}

func TestWhatIsNotAnsweredIsDeliveredAgainAfterARestart(t *testing.T) {
	first := new(held)
	b := newBench(t, Config{DrainTime: time.Millisecond}, store.Config{}, sinks(map[string]Sink{"a": first}))
	swap(t, b.Router, to{"a"})
	b.run()
	if errs := b.accept(plain("x", "1"), plain("x", "2"), plain("x", "3")); errs != nil {
		t.Fatal(errs)
	}
	eventually(t, "three deliveries under way", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return len(first.got) == 3
	})
	first.got[1].done(nil)
	eventually(t, "the second is settled", func() bool { return b.figures("a").Delivered == 1 })
	bodies := make(chan string, 3)
	again := SinkFunc(func(_ context.Context, d *message.Delivery, done func(error)) { bodies <- string(d.Body); done(nil) })
	b.restart(sinks(map[string]Sink{"a": again}))
	b.run()
	if got := []string{<-bodies, <-bodies}; !cmp.Equal(got, []string{"1", "3"}) {
		t.Errorf("delivered again: %v", got)
	}
}

func TestDeadLettersCarryTheirCause(t *testing.T) {
	sink := SinkFunc(func(_ context.Context, d *message.Delivery, done func(error)) {
		if string(d.Body) == "poison" {
			done(fmt.Errorf("body is not JSON: %w", ErrRejected))
			return
		}
		done(nil)
	})
	b := newBench(t, Config{}, store.Config{}, func(string) (Sink, PumpConfig, bool) {
		return sink, PumpConfig{MaxAttempts: 3, RetryBase: time.Microsecond}, true
	})
	b.run()
	swap(t, b.Router, to{"a"})
	if errs := b.accept(plain("x", "1"), plain("x", "poison"), plain("x", "2")); errs != nil {
		t.Fatal(errs)
	}
	eventually(t, "an empty queue", func() bool { f := b.figures("a"); return f.Accepted == 3 && f.Queued == 0 })
	if f := b.figures("a"); f.Delivered != 2 || f.Buried != 1 || !f.Balanced {
		t.Errorf("ledger %+v", f)
	}
	q, err := b.store.Queue("a")
	if err != nil {
		t.Fatal(err)
	}
	dead, err := q.Dead(1, 10)
	if err != nil || len(dead) != 1 || string(dead[0].Body) != "poison" || !strings.Contains(dead[0].Cause, "body is not JSON") {
		t.Errorf("dead letters %+v, %v", dead, err)
	}
}

func TestExpiredMessagesAreCountedNotDelivered(t *testing.T) {
	var delivered atomic.Int32
	sink := SinkFunc(func(_ context.Context, _ *message.Delivery, done func(error)) { delivered.Add(1); done(nil) })
	b := newBench(t, Config{}, store.Config{}, nil)
	b.run()
	swap(t, b.Router, to{"a"})
	late := plain("x", "late")
	late.Expires = time.Now().UnixMilli() - 1
	if errs := b.accept(late, plain("x", "fresh")); errs != nil {
		t.Fatal(errs)
	}
	attach(t, b.Router, "a", sink, PumpConfig{})
	eventually(t, "an empty queue", func() bool { return b.figures("a").Queued == 0 })
	if f := b.figures("a"); f.Expired != 1 || f.Delivered != 1 || !f.Balanced || delivered.Load() != 1 {
		t.Errorf("%d delivered, ledger %+v", delivered.Load(), f)
	}
}

func TestAttachOncePerQueue(t *testing.T) {
	b := newBench(t, Config{}, store.Config{}, nil)
	attach(t, b.Router, "a", takeAll, PumpConfig{})
	if err := b.Attach("a", takeAll, PumpConfig{}); !errors.Is(err, ErrAttached) {
		t.Errorf("a second pump: %v", err)
	}
	b.run()
	b.stop()
	if err := b.Attach("b", takeAll, PumpConfig{}); !errors.Is(err, ErrStopped) {
		t.Errorf("a pump after the end: %v", err)
	}
}
