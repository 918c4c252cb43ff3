package crash

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/router"
	"github.com/penstock-io/penstock/store"
)

// disk delays the commits of a store, and decides how they end.
type disk struct {
	held atomic.Pointer[chan error]
}

// hold makes the next commits wait for answers on the channel, until free.
func (d *disk) hold() chan<- error {
	c := make(chan error)
	d.held.Store(&c)
	return c
}

func (d *disk) free() { d.held.Store(nil) }

func (d *disk) beforeCommit() error {
	if c := d.held.Load(); c != nil {
		return <-*c
	}
	return nil
}

// keepAll sends everything to one queue.
type keepAll struct{}

func (keepAll) Queues() []string { return []string{"kept"} }
func (keepAll) Match(_ *message.Message, dst []message.Target) []message.Target {
	return append(dst, message.Target{Queue: "kept", Rule: "keep"})
}

type sessions struct{ s *store.Store }

func (q sessions) Queue(name string) (broker.Queue, error) { return q.s.Queue(name) }
func (q sessions) Drop(name string) error                  { return q.s.Drop(name) }
func (q sessions) Queues() []string                        { return q.s.Queues() }

// device is broker, router and store as an edgehub has them, on a disk that can fail.
func device(t *testing.T) (*disk, *store.Store, string) {
	t.Helper()
	d := &disk{}
	st, err := store.Open(store.Config{Dir: t.TempDir(), BeforeCommit: d.beforeCommit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.free(); st.Close() })
	rt, err := router.New(router.Config{}, st, func(string) (router.Sink, router.PumpConfig, bool) { return nil, router.PumpConfig{}, false })
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Swap(keepAll{}); err != nil {
		t.Fatal(err)
	}
	dir, err := identity.NewStatic(nil)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := identity.NewGuard(dir, identity.Config{
		Anonymous: []string{"local"},
		Rules:     []identity.Rule{{Group: "anonymous", Allow: []string{"publish"}, Topics: []string{"#"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Config{Listeners: []broker.Listener{{Name: "local", Address: "127.0.0.1:0"}}}, broker.Deps{
		Acceptor: rt, Guard: guard, Queues: sessions{st}, Records: st, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- rt.Run(ctx) }()
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		d.free()
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return d, st, b.Addr("local").String()
}

const quiet = 200 * time.Millisecond

// TestPowerLoss: what is not synced is not acknowledged. A power cut before the
// sync finds a publisher that still has its messages.
func TestPowerLoss(t *testing.T) {
	for _, version := range []byte{mqtttest.V311, mqtttest.V5} {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("version %d qos %d", version, qos), func(t *testing.T) { powerLoss(t, version, qos) })
		}
	}
}

func powerLoss(t *testing.T, version, qos byte) {
	d, st, addr := device(t)
	ack := byte(mqtttest.PUBACK)
	if qos == 2 {
		ack = mqtttest.PUBREC
	}
	message := func(id uint16, body string) []byte {
		return mqtttest.Publish{Topic: "plant/temp", QoS: qos, ID: id, Payload: body}.Bytes(version)
	}
	connect := func() *mqtttest.Client {
		c := mqtttest.Dial(t, addr, mqtttest.Version(version))
		c.Connect(mqtttest.Connect{ClientID: "sender"})
		return c
	}
	c := connect()

	commit := d.hold()
	c.Send(message(1, "one")...)
	c.Send(message(2, "two")...)
	c.ExpectNothing(quiet)
	c.Ping() // the connection is read meanwhile
	d.free()
	commit <- nil
	for id := uint16(1); id <= 2; id++ {
		if p := c.Expect(ack); p.ID != id || p.Code != 0 {
			t.Fatalf("after the sync: %s, want success for id %d", p, id)
		}
	}

	commit = d.hold()
	c.Send(message(3, "lost")...)
	c.ExpectNothing(quiet)
	d.free()
	commit <- errors.New("the disk failed to sync")
	if version == mqtttest.V5 {
		if p := c.Expect(ack); p.ID != 3 || p.Code != 0x83 {
			t.Fatalf("after a failed sync: %s, want reason code 0x83", p)
		}
		c.Ping()
		c.Close()
	} else if sent := c.ExpectClosed(); len(sent) > 0 {
		t.Fatalf("after a failed sync came %v, want the end of the connection only", sent)
	}

	c = connect()
	if p := c.Publish(mqtttest.Publish{Topic: "plant/temp", QoS: qos, ID: 4, Payload: "three"}); p.Code != 0 {
		t.Fatalf("after the recovery: %s", p)
	}
	q, err := st.Queue("kept")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := q.Peek(0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var bodies []string
	for _, k := range kept {
		bodies = append(bodies, string(k.Body))
	}
	if diff := cmp.Diff([]string{"one", "two", "three"}, bodies); diff != "" {
		t.Errorf("the queue holds what was acknowledged and nothing else:\n%s", diff)
	}
}
