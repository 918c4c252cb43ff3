package broker_test

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	mt "github.com/penstock-io/penstock/internal/mqtttest"
)

// What the broker relies on, or works around, in the library itself. A test that
// fails here after an upgrade means: look at the code that its comment names.

// answering is a mochi hook that answers every publish with one error.
type answering struct {
	mqtt.HookBase
	err error
}

func (h *answering) ID() string { return "answering" }
func (h *answering) Provides(b byte) bool {
	return bytes.IndexByte([]byte{mqtt.OnPublish, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck}, b) >= 0
}
func (h *answering) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (h *answering) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }
func (h *answering) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	return pk, h.err
}

// plainMochi is the library as it comes, with one hook.
func plainMochi(t *testing.T, err error) string {
	t.Helper()
	s := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := s.AddHook(&answering{err: err}, nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	if err := s.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return l.Address()
}

// Broker.hook.OnPublish returns ErrRejectPacket and answers later.
func TestLibraryRejectPacketSendsNothing(t *testing.T) {
	addr := plainMochi(t, packets.ErrRejectPacket)
	bothVersions(t, func(t *testing.T, v byte) {
		for qos := byte(1); qos <= 2; qos++ {
			c := mt.Dial(t, addr, mt.Version(v))
			c.Connect(mt.Connect{ClientID: "c"})
			c.Send(mt.Publish{Topic: "t", QoS: qos, ID: 1}.Bytes(v)...)
			c.Send(mt.PINGREQ<<4, 0)
			c.Expect(mt.PINGRESP) // and the connection goes on
			c.ExpectNothing(20 * time.Millisecond)
			c.Close()
		}
	})
}

// Why no other error may ever be returned from OnPublish: 3.1.1 sees success.
func TestLibraryAcknowledgesOtherErrorsTo311(t *testing.T) {
	for _, err := range []error{packets.ErrQuotaExceeded, errors.New("disk full")} {
		c := mt.Dial(t, plainMochi(t, err))
		c.Connect(mt.Connect{ClientID: "c"})
		if p := c.Publish(mt.Publish{Topic: "t", QoS: 1}); p.Type != mt.PUBACK {
			t.Errorf("%v: got %s; the library no longer hides errors from 3.1.1", err, p)
		}
	}
}

// Why not even reason codes may: QoS 2 gets the wrong packet.
func TestLibraryAnswersRefusedQoS2WithPuback(t *testing.T) {
	c := mt.Dial(t, plainMochi(t, packets.ErrQuotaExceeded), mt.Version(mt.V5))
	c.Connect(mt.Connect{ClientID: "c"})
	c.Send(mt.Publish{Topic: "t", QoS: 1, ID: 1}.Bytes(mt.V5)...)
	if p := c.Expect(mt.PUBACK); p.Code != 0x97 {
		t.Errorf("QoS 1: %s", p)
	}
	c.Send(mt.Publish{Topic: "t", QoS: 2, ID: 2}.Bytes(mt.V5)...)
	p, err := c.Read()
	if err != nil || p.Type != mt.PUBACK || p.Code != 0x97 {
		t.Errorf("QoS 2: %s, %v; the library now answers with the right packet", p, err)
	}
}

// deepFilters exists for this: a/+/# also matches a/b (4.7.1.2).
func TestLibraryOverlooksTheLevelOfPlusHash(t *testing.T) {
	x := mqtt.NewTopicsIndex()
	x.Subscribe("c", packets.Subscription{Filter: "a/+/#"})
	if n := len(x.Subscribers("a/b/c").Subscriptions); n != 1 {
		t.Errorf("a/+/# reaches a/b/c for %d clients", n)
	}
	if n := len(x.Subscribers("a/b").Subscriptions); n != 0 {
		t.Errorf("the library now finds a/+/# for a/b: deepFilters can go")
	}
}
