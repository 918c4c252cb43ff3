package uplink

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/router"
	"github.com/penstock-io/penstock/store"
)

// upstream sends everything to the queue of the same name.
type upstream struct{}

func (upstream) Match(_ *message.Message, dst []message.Target) []message.Target {
	return append(dst, message.Target{Queue: "$upstream", Rule: "all"})
}
func (upstream) Queues() []string { return []string{"$upstream"} }

// site is an edge with a store, a router and an uplink, as edgehub wires them.
type site struct {
	t      *testing.T
	parent *parent
	queue  *store.Queue
	router *router.Router
	sent   map[string]int // by device
}

func newSite(t *testing.T, p *parent, address string, lanes router.Lanes) *site {
	t.Helper()
	st, err := store.Open(store.Config{Dir: t.TempDir(), SettleDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	q, err := st.Queue("$upstream")
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(address)
	cfg.Window, cfg.Epoch, cfg.Floor = 16, st.Epoch(), q.Floor
	cfg.KeepAlive = 30 * time.Second // the parent would end a session that waits a second for a probe
	if strings.HasPrefix(address, "wss") {
		cfg.TLS.CAFile = writePEM(t, "ca.pem", "CERTIFICATE", p.ws.Certificate().Raw)
	}
	u := start(t, cfg)
	pump := router.PumpConfig{Window: 16, RetryBase: time.Millisecond, RetryMax: 20 * time.Millisecond, Lanes: lanes}
	r, err := router.New(router.Config{DrainTime: time.Millisecond}, st, func(string) (router.Sink, router.PumpConfig, bool) { return u, pump, true })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Swap(upstream{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return &site{t: t, parent: p, queue: q, router: r, sent: make(map[string]int)}
}

// accept takes one message of each device, numbered per device from 0.
func (s *site) accept(devices ...string) {
	s.t.Helper()
	b := &message.Batch{}
	for _, d := range devices {
		body := strconv.Itoa(s.sent[d])
		b.Messages = append(b.Messages, message.Message{Kind: message.Telemetry, QoS: 1, Device: d, Body: []byte(body), Accepted: time.Now().UnixMilli()})
		s.sent[d]++
	}
	done := make(chan []error, 1)
	b.Done = func(_ *message.Batch, errs []error) { done <- errs }
	s.router.Accept(b)
	if errs := receive(s.t, "commit", done); errs != nil {
		s.t.Fatal(errs)
	}
}

func (s *site) total() router.Figures { return s.router.Ledger().Total }

// arrived checks that a device's messages but those it names first came in order.
func (s *site) arrived(device string, but ...int) {
	s.t.Helper()
	s.parent.mu.Lock()
	defer s.parent.mu.Unlock()
	var want, got []int
	for n := range s.sent[device] {
		if !slices.Contains(but, n) {
			want = append(want, n)
		}
	}
	for _, m := range s.parent.got {
		if n, err := strconv.Atoi(string(m.Body)); m.Device == device && err == nil && !slices.Contains(got, n) {
			got = append(got, n)
		}
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("messages of %s at the parent: %v, want %v", device, got, want)
	}
}

func (s *site) balanced(buried uint64) {
	s.t.Helper()
	if f := s.total(); !f.Balanced || f.Queued != 0 || f.Buried != buried || f.Delivered+f.Buried != f.Accepted {
		s.t.Errorf("ledger %+v, want %d buried and the rest delivered", f, buried)
	}
}

func of(devices ...string) func(message.Message) bool {
	return func(m message.Message) bool { return slices.Contains(devices, m.Device) }
}

// A leaf that the edge knows and the parent does not: its messages are buried and
// nobody else's wait for them.
func TestDeviceThatTheParentHangsUpOn(t *testing.T) {
	for name, lanes := range map[string]router.Lanes{"mqtt": {}, "wss": {Live: 4, Backlog: 1}} {
		t.Run(name, func(t *testing.T) {
			p := newParent(t)
			p.poison = of("leaf-1")
			address := map[string]string{"mqtt": p.tcp, "wss": p.ws.Listener.Addr().String()}[name]
			s := newSite(t, p, name+"://"+address, lanes)
			for range 4 {
				s.accept("leaf-2", "leaf-1", "leaf-2", "leaf-3", "leaf-2")
			}
			began := time.Now()
			eventually(t, "an empty queue", func() bool { return s.total().Queued == 0 })
			t.Logf("took %v", time.Since(began))
			s.balanced(4)
			s.arrived("leaf-2")
			s.arrived("leaf-3")
			s.arrived("leaf-1", 0, 1, 2, 3)

			dead, err := s.queue.Dead(1, 10)
			if err != nil || len(dead) != 4 {
				t.Fatalf("dead letters %v, %v", dead, err)
			}
			var seqs []uint64
			for _, d := range dead {
				seqs = append(seqs, d.Seq)
				if d.Device != "leaf-1" || !strings.Contains(d.Cause, "the parent hangs up on this message and takes others") {
					t.Errorf("buried is a message of %s: %s", d.Device, d.Cause)
				}
			}
			p.set(func() { p.poison = nil }) // the device is provisioned
			if n, err := s.queue.Requeue(seqs...); n != 4 || err != nil {
				t.Fatalf("requeued %d, %v", n, err)
			}
			eventually(t, "what was put back is delivered", func() bool { return s.total().Delivered == 20 })
			s.arrived("leaf-1")
		})
	}
}

// A parent that hangs up on everything says nothing about any message. That it
// gets well between two tries of one message does not either.
func TestNothingIsBuriedForAParentThatIsUnwell(t *testing.T) {
	p := newParent(t)
	attempts := 0
	p.poison = func(message.Message) bool { attempts++; return true }
	s := newSite(t, p, "mqtt://"+p.tcp, router.Lanes{})
	for range 10 {
		s.accept("leaf-1", "leaf-2", "leaf-3")
	}
	for round := range 3 {
		after := strikesNeeded + 2 + rand.IntN(10)
		eventually(t, "attempts", func() bool { return p.count(func() int { return attempts }) >= after })
		// One message gets through, whichever it is, then all is as before.
		left := 1 + rand.IntN(2)
		p.set(func() {
			attempts = 0
			p.poison = func(message.Message) bool { attempts++; left--; return left < 0 }
		})
		t.Logf("round %d: after %d attempts, %d taken", round, after, left)
	}
	if f := s.total(); f.Buried != 0 || f.Queued == 0 {
		t.Fatalf("ledger %+v", f)
	}
	p.set(func() { p.poison = nil })
	eventually(t, "an empty queue", func() bool { return s.total().Queued == 0 })
	s.balanced(0)
	for _, d := range []string{"leaf-1", "leaf-2", "leaf-3"} {
		s.arrived(d)
	}
}

// With nothing of another source to prove the parent well by, nothing is buried.
func TestDeviceThatIsRefusedAloneWaitsForAnother(t *testing.T) {
	p := newParent(t)
	attempts := 0
	p.poison = func(m message.Message) bool { attempts++; return m.Device == "leaf-1" }
	s := newSite(t, p, "mqtt://"+p.tcp, router.Lanes{})
	s.accept("leaf-1")
	eventually(t, "attempts", func() bool { return p.count(func() int { return attempts }) > 2*strikesNeeded })
	s.accept("leaf-1", "leaf-1")
	eventually(t, "more attempts", func() bool { return p.count(func() int { return attempts }) > 3*strikesNeeded })
	if f := s.total(); f.Buried != 0 {
		t.Fatalf("ledger %+v", f)
	}
	s.accept("leaf-2")
	eventually(t, "the good message is delivered", func() bool { return s.total().Delivered == 1 })
	s.arrived("leaf-2")
}

func TestOneMessageOfASingleDevice(t *testing.T) {
	p := newParent(t)
	p.poison = func(m message.Message) bool { return string(m.Body) == "3" }
	s := newSite(t, p, "mqtt://"+p.tcp, router.Lanes{})
	for range 20 {
		s.accept("leaf-1")
	}
	eventually(t, "an empty queue", func() bool { return s.total().Queued == 0 })
	s.balanced(1)
	s.arrived("leaf-1", 3)
}

// Two devices that the parent refuses do not vouch for each other.
func TestProbeThatIsASuspectItself(t *testing.T) {
	p := newParent(t)
	p.poison = of("leaf-1", "leaf-2")
	s := newSite(t, p, "mqtt://"+p.tcp, router.Lanes{})
	s.accept("leaf-1", "leaf-2", "leaf-1", "leaf-2")
	eventually(t, "an empty queue", func() bool {
		if f := s.total(); f.Accepted-f.Buried-f.Delivered < 6 {
			s.accept("leaf-3") // to prove the parent well by
		}
		return s.total().Buried == 4
	})
	eventually(t, "an empty queue", func() bool { return s.total().Queued == 0 })
	s.balanced(4)
	s.arrived("leaf-3")
}

// model is a queue in front of a line and a parent behind it, without a network.
type model struct {
	line     *line
	session  *session
	clock    time.Time
	rnd      *rand.Rand
	queue    []entry
	bad      []bool // by index in queue: the parent closes on it
	down     bool   // it closes on everything
	answered map[uint64]error
	flight   []int             // indexes in queue
	last     map[source]uint64 // highest sequence the parent took
	taken    map[uint64]bool
}

func newModel(seed uint64, queue []entry, bad []bool) *model {
	m := &model{
		line: newLine(8), clock: time.Unix(1, 0), rnd: rand.New(rand.NewPCG(seed, 1)), queue: queue, bad: bad,
		answered: map[uint64]error{}, last: map[source]uint64{}, taken: map[uint64]bool{},
	}
	m.line.now = func() time.Time { return m.clock }
	m.connect()
	return m
}

// connect begins a session and delivers again what is not settled.
func (m *model) connect() {
	m.session = newTestSession(m.line)
	m.line.attach(m.session)
	for i := range m.queue {
		e := m.queue[i]
		if m.settled(e.seq) {
			continue
		}
		if len(m.line.slots) == cap(m.line.slots) {
			return
		}
		e.done = func(err error) { m.answered[e.seq] = err }
		m.line.push(e)
	}
}

func (m *model) settled(seq uint64) bool {
	err, ok := m.answered[seq]
	return ok && (err == nil || errors.Is(err, router.ErrPermanent))
}

// answer is the parent's: an acknowledgement of the oldest in flight, or the end.
func (m *model) answer(rt *rapid.T) {
	i := m.flight[0]
	e := &m.queue[i]
	if m.down || m.bad[i] {
		m.flight = nil
		m.session.end(io.EOF)
		m.connect()
		return
	}
	if !m.taken[e.seq] && e.seq < m.last[e.from] {
		rt.Fatalf("message %d of %v came after %d", e.seq, e.from, m.last[e.from])
	}
	m.taken[e.seq], m.last[e.from] = true, max(m.last[e.from], e.seq)
	m.flight = m.flight[1:]
	m.line.ack(m.session)
}

// step lets the parent answer or the edge send.
func (m *model) step(rt *rapid.T) {
	if len(m.flight) > 0 && m.rnd.IntN(2) == 0 {
		m.answer(rt)
		return
	}
	_, again, ok := m.line.next(m.session)
	switch {
	case ok:
		topic, _, _ := m.line.take(m.session)
		i, _ := strconv.Atoi(topic)
		m.flight = append(m.flight, i)
	case again > 0:
		m.clock = m.clock.Add(probeWithin / 2)
	case len(m.flight) > 0:
		m.answer(rt)
	case m.line.n == 0: // the rest of the queue
		m.session.end(errReplaced)
		m.connect()
	}
}

// Whatever the parent refuses, only that is given up, and sources keep their order.
// With a source of its own for each message that holds also if the parent closed on
// everything for a while, and all that it does not refuse arrives, unless what it
// refuses fills the window.
func TestOnlyTheGuiltyAreGivenUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const n = 12
		outage := rapid.IntRange(0, 150).Draw(rt, "outage")
		sources := n
		if outage == 0 {
			sources = rapid.IntRange(1, n).Draw(rt, "sources")
		}
		queue, bad, refused := make([]entry, n), make([]bool, n), 0
		for i := range queue {
			from := source{device: strconv.Itoa(i % sources)}
			queue[i] = entry{ctx: context.Background(), seq: uint64(i + 1), from: from, topic: strconv.Itoa(i)}
			bad[i] = rapid.IntRange(0, 4).Draw(rt, "bad") == 0
			if bad[i] {
				refused++
			}
		}
		m := newModel(rapid.Uint64().Draw(rt, "seed"), queue, bad)
		for i := range outage + 5000 {
			m.down = i < outage
			m.step(rt)
		}
		for i := range queue {
			err := m.answered[queue[i].seq]
			switch {
			case bad[i] && m.taken[queue[i].seq]:
				rt.Fatalf("message %d is refused and was taken", i)
			case !bad[i] && errors.Is(err, router.ErrPermanent):
				rt.Fatalf("message %d was given up: %v", i, err)
			case !bad[i] && sources == n && refused < cap(m.line.slots) && !m.taken[queue[i].seq]:
				rt.Fatalf("message %d did not arrive: %v", i, err)
			}
		}
		m.session.end(errStopped)
	})
}
