package broker_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/broker"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/store"
)

// disk lets a test hold up or fail the store's synced commits.
type disk struct {
	mu  sync.Mutex // held: commits wait
	err error
}

func (d *disk) commit() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func onDisk(t *testing.T) (*server, *disk) {
	t.Helper()
	dk := new(disk)
	st, err := store.Open(store.Config{Dir: t.TempDir(), SettleDelay: 5 * time.Millisecond, BeforeCommit: dk.commit})
	if err != nil {
		t.Fatal(err)
	}
	d := deps(t)
	d.Acceptor, d.Queues, d.Records = durable{st}, queues{st}, st
	t.Cleanup(func() {
		dk.fail(nil)
		if err := st.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return start(t, broker.Config{}, d), dk
}

// held runs send while commits wait and makes sure that nothing comes before
// they go on.
func (d *disk) held(c *mt.Client, send func()) {
	d.mu.Lock()
	send()
	c.ExpectNothing(50 * time.Millisecond)
	d.mu.Unlock()
}

func TestEveryPromiseWaitsForTheSync(t *testing.T) {
	s, dk := onDisk(t)
	pub, sub := s.join(t, mt.V5, forever(mt.V5, "pub")), s.join(t, mt.V5, forever(mt.V5, "sub"))
	dk.held(sub, func() { sub.Send(mt.Bytes(0x82, []byte{0, 1, 0}, mt.Field("t"), []byte{2})...) })
	sub.Expect(mt.SUBACK)
	dk.held(pub, func() { pub.Send(mt.Publish{Topic: "x", QoS: 1, ID: 1}.Bytes(mt.V5)...) })
	pub.Expect(mt.PUBACK)
	dk.held(pub, func() { pub.Send(mt.Publish{Topic: "t", QoS: 2, ID: 2}.Bytes(mt.V5)...) })
	pub.Expect(mt.PUBREC)
	dk.held(pub, func() { pub.Ack(mt.PUBREL, 2) })
	pub.Expect(mt.PUBCOMP)
	p := sub.Expect(mt.PUBLISH)
	dk.held(sub, func() { sub.Ack(mt.PUBREC, p.ID) })
	sub.Expect(mt.PUBREL)
	sub.Ack(mt.PUBCOMP, p.ID)
	sub.Ping()
}

func TestFailedSyncPromisesNothing(t *testing.T) {
	s, dk := onDisk(t)
	sub := s.join(t, mt.V5, forever(mt.V5, "sub"))
	sub.Subscribe("t", 2)
	pub, old := s.join(t, mt.V5, mt.Connect{ClientID: "pub"}), s.join(t, mt.V311, mt.Connect{ClientID: "old"})
	pub.Publish(mt.Publish{Topic: "t", Payload: "1", QoS: 2})
	p := sub.Expect(mt.PUBLISH)

	dk.fail(errors.New("no sync"))
	if a := pub.Publish(mt.Publish{Topic: "t", QoS: 1}); a.Code != 0x83 {
		t.Errorf("got %s", a)
	}
	old.Send(mt.Publish{Topic: "t", QoS: 1, ID: 1}.Bytes(mt.V311)...)
	if got := old.ExpectClosed(); len(got) > 0 {
		t.Errorf("3.1.1 got %v", got)
	}
	// PUBREL may not leave: the message would come again after a crash.
	sub.Ack(mt.PUBREC, p.ID)
	if got := sub.ExpectClosed(); len(got) > 0 {
		t.Errorf("the subscriber got %v", got)
	}
	dk.fail(nil)
	sub = s.join(t, mt.V5, forever(mt.V5, "sub"))
	if r := sub.Expect(mt.PUBREL); r.ID != p.ID {
		t.Errorf("got %s", r)
	}
	sub.Ack(mt.PUBCOMP, p.ID)
	sub.Ping()
	sub.ExpectNothing(50 * time.Millisecond) // neither the first again nor the refused one
}
