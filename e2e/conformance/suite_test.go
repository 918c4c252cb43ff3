package conformance

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/identity"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

const noSubscribe = "test/nosubscribe"

// guard admits everybody to everything but a subscription to noSubscribe.
type guard struct{}

func (guard) Authenticate(*identity.Connect) (*identity.Principal, error) {
	return &identity.Principal{User: "suite"}, nil
}

func (guard) Allow(_ *identity.Principal, a identity.Action, topic string) bool {
	return a != identity.Subscribe || topic != noSubscribe
}

// sessions routes to persistent sessions only.
type sessions struct{ s *store.Store }

func (x sessions) Accept(b *message.Batch) {
	r := &store.Request{Records: b.Records}
	for i := range b.Messages {
		m := &b.Messages[i]
		r.Items = append(r.Items, store.Item{Data: message.Append(nil, m), Accepted: m.Accepted, Targets: m.Sessions})
	}
	r.Done = func(_ *store.Request, errs []error) { b.Done(b, errs[:min(len(errs), len(b.Messages))]) }
	x.s.Append(r)
}

func (x sessions) Queue(name string) (broker.Queue, error) { return x.s.Queue(name) }
func (x sessions) Drop(name string) error                  { return x.s.Drop(name) }
func (x sessions) Queues() []string                        { return x.s.Queues() }

// hub starts the broker that the suites ask for.
func hub(t *testing.T) string {
	t.Helper()
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Config{
		Listeners:    []broker.Listener{{Name: "tcp", Address: "127.0.0.1:0"}},
		KeepAliveMax: time.Minute, ObscureRefusals: true,
	}, broker.Deps{Acceptor: sessions{st}, Guard: guard{}, Queues: sessions{st}, Records: st, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return b.Addr("tcp").String()
}

// test is one test of a suite: its version, and a place of its own on the hub.
type test struct {
	*testing.T
	addr   string
	v      byte
	prefix string
}

type named struct {
	name string
	run  func(*test)
}

func runSuite(t *testing.T, v byte, tests []named, want int) {
	if len(tests) != want {
		t.Errorf("%d tests, the suite has %d", len(tests), want)
	}
	addr := hub(t)
	t.Run("suite", func(t *testing.T) { // ends when its parallel tests have
		for _, x := range tests {
			t.Run(x.name, func(t *testing.T) {
				t.Parallel()
				x.run(&test{T: t, addr: addr, v: v, prefix: x.name + "/"})
			})
		}
	})
}

// The suites' topics and filters, below the test's prefix.
const (
	topicA  = "TopicA"
	topicAB = "TopicA/B"
	topicC  = "Topic/C"
	topicAC = "TopicA/C"
	slashA  = "/TopicA"
	twoUp   = "+/+"
	allOfA  = "TopicA/#"
	plusOfA = "TopicA/+"
)

func (x *test) topic(name string) string { return x.prefix + name }

func (x *test) dial() *mt.Client { x.Helper(); return mt.Dial(x.T, x.addr, mt.Version(x.v)) }

// connect connects as a client of this test and returns its CONNACK, too.
func (x *test) connect(id string, o mt.Connect) (*mt.Client, mt.Packet) {
	x.Helper()
	c := x.dial()
	o.ClientID = x.prefix + id
	return c, c.Connect(o)
}

func (x *test) clean(id string, props ...mt.Prop) *mt.Client {
	x.Helper()
	c, p := x.connect(id, mt.Connect{Props: props})
	if p.SessionPresent {
		x.Errorf("clean start found a session: %s", p)
	}
	return c
}

// kept connects without clean start to a session that stays.
func (x *test) kept(id string) *mt.Client {
	x.Helper()
	o := mt.Connect{Keep: true}
	if x.v == mt.V5 {
		o.Props = []mt.Prop{mt.Num(mt.SessionExpiry, 99_999)}
	}
	c, _ := x.connect(id, o)
	return c
}

func (x *test) publish(c *mt.Client, topic, payload string, qos byte, props ...mt.Prop) {
	x.Helper()
	x.send(c, mt.Publish{Topic: x.topic(topic), Payload: payload, QoS: qos, Props: props})
}

func (x *test) retain(c *mt.Client, topic, payload string, qos byte, props ...mt.Prop) {
	x.Helper()
	x.send(c, mt.Publish{Topic: x.topic(topic), Payload: payload, QoS: qos, Retain: true, Props: props})
}

func (x *test) send(c *mt.Client, m mt.Publish) {
	x.Helper()
	if p := c.Publish(m); p.Code != 0 {
		x.Fatalf("publish %+v: %s", m, p)
	}
	c.Ping() // QoS 0 is in, too
}

// exactly receives n messages and makes sure that no more come.
func (x *test) exactly(c *mt.Client, n int) []mt.Packet {
	x.Helper()
	var got []mt.Packet
	for range n {
		got = append(got, c.Receive())
	}
	c.Ping()
	c.ExpectNothing(100 * time.Millisecond)
	return got
}

// allQoS checks that the messages have QoS 0, 1 and 2, in any order.
func (x *test) allQoS(got []mt.Packet) {
	x.Helper()
	var qos []byte
	for _, p := range got {
		qos = append(qos, p.QoS)
	}
	slices.Sort(qos)
	if !slices.Equal(qos, []byte{0, 1, 2}) {
		x.Errorf("QoS %v, want 0, 1 and 2", qos)
	}
}

// interval lets an interval of the protocol pass.
func interval(d time.Duration) { <-time.NewTimer(d).C }

func payloads(got []mt.Packet) string {
	var s []string
	for _, p := range got {
		s = append(s, string(p.Payload))
	}
	return strings.Join(s, ", ")
}
