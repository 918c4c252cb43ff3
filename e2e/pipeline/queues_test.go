package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/message"
)

const inputQueue = "modules/filter/inputs/in"

// TestDeadLetters: what a module refuses is buried with its cause, and can be
// put back.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{
		rules:  "rules:\n  - {name: in, from: devices/*, into: modules/filter/inputs/in}\n",
		config: "router: {max_attempts: 2, retry: {min: 10ms, max: 20ms}}\n",
	})
	filter := s.raw(mqtttest.V5, edgeDevice, module)
	filter.Subscribe("devices/"+edgeDevice+"/modules/"+module+"/inputs/#", 1)
	press := s.leaf(leafDevice, "")
	publish(t, press, telemetry("bad", `"bad"`), telemetry("good", `"good"`))
	taken := answer(t, filter, func(body string) bool { return body == `"good"` }, 3)
	if strings.Join(taken, " ") != `"good"` {
		t.Errorf("the module took %v", taken)
	}
	until(t, "the refused message to be buried", func() error {
		if f := s.entry("in", inputQueue); f.Buried != 1 || f.Delivered != 1 || !f.Balanced {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
	dead, err := s.edgeAPI.Dead(t.Context(), inputQueue, 0, 10)
	if err != nil || len(dead) != 1 || string(dead[0].Body) != `"bad"` || dead[0].Cause == "" || dead[0].Buried == nil {
		t.Fatalf("dead letters: %+v, %v", dead, err)
	}
	if n, err := s.edgeAPI.Requeue(t.Context(), inputQueue, dead[0].Seq); n != 1 || err != nil {
		t.Fatalf("requeued %d: %v", n, err)
	}
	if taken := answer(t, filter, func(string) bool { return true }, 1); strings.Join(taken, " ") != `"bad"` {
		t.Errorf("after the requeue the module took %v", taken)
	}
	s.drained()
	if f := s.entry("in", inputQueue); f.Delivered != 2 || f.Buried != 0 {
		t.Errorf("after the requeue: %+v", f)
	}
	if dead, err := s.edgeAPI.Dead(t.Context(), inputQueue, 0, 10); len(dead) != 0 || err != nil {
		t.Errorf("after the requeue: %d dead letters, %v", len(dead), err)
	}
}

// answer acknowledges n deliveries and returns the bodies it took; the others
// are refused with a reason code.
func answer(t *testing.T, c *mqtttest.Client, takes func(body string) bool, n int) (taken []string) {
	t.Helper()
	for range n {
		p := c.Expect(mqtttest.PUBLISH)
		code := byte(0x83)
		if takes(string(p.Payload)) {
			code = 0
			taken = append(taken, string(p.Payload))
		}
		c.Send(mqtttest.Ack(mqtttest.V5, mqtttest.PUBACK, p.ID, code)...)
	}
	return taken
}

// TestPurge empties a queue; the ledger counts what was given up.
func TestPurge(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{noCloud: true, rules: "rules:\n  - {name: up, from: devices/*, into: $upstream}\n"})
	var ms []*message.Message
	for n := range 20 {
		ms = append(ms, telemetry(fmt.Sprint(n), "{}"))
	}
	press := s.leaf(leafDevice, "")
	publish(t, press, ms...)
	if n, err := s.edgeAPI.Purge(t.Context(), "$upstream", false); n != 20 || err != nil {
		t.Fatalf("purged %d: %v", n, err)
	}
	if f := s.entry("up", "$upstream"); f.Queued != 0 || f.DroppedTotal() != 20 || !f.Balanced {
		t.Errorf("after the purge: %+v", f)
	}
	if _, err := s.edgeAPI.Purge(t.Context(), "no-such-queue", false); err == nil {
		t.Error("a queue that is not there was purged")
	}
	s.startCloud()
	publish(t, press, telemetry("after", "{}"))
	s.drained()
	if all := s.received(); len(all) != 1 || all[0].Origin.Seq != 21 {
		t.Errorf("after the purge the cloud has %+v, want the message with sequence 21 alone", all)
	}
}

// TestFullQueue: a publisher hears that there is no room. What was acknowledged
// before is not touched, and there is room again when the cloud is back.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{
		noCloud: true, rules: "rules:\n  - {name: up, from: devices/*, into: $upstream}\n",
		config: "store: {queue_max_bytes: 64KiB}\n",
	})
	const quotaExceeded = 0x97
	press := s.raw(mqtttest.V5, leafDevice, "")
	const events = "devices/" + leafDevice + "/messages/events/"
	body := strings.Repeat("x", 1000)
	acked, refused := 0, 0
	for range 100 {
		switch ack := press.Publish(mqtttest.Publish{Topic: events, QoS: 1, Payload: body}); ack.Code {
		case 0:
			acked++
		case quotaExceeded:
			refused++
		default:
			t.Fatalf("publish: %s", ack)
		}
	}
	if acked < 30 || refused < 30 {
		t.Fatalf("%d acknowledged, %d refused: 64 KiB hold about 60 messages of 1,000 bytes", acked, refused)
	}
	press.Close()
	old := s.raw(mqtttest.V311, leafDevice, "")
	old.Send(mqtttest.Publish{Topic: events, QoS: 1, ID: 1, Payload: body}.Bytes(mqtttest.V311)...)
	if sent := old.ExpectClosed(); len(sent) > 0 {
		t.Errorf("a 3.1.1 client without room got %v, want the end of the connection", sent)
	}
	if f := s.entry("up", "$upstream"); f.Queued != uint64(acked) || !f.Balanced {
		t.Errorf("%d acknowledged: %+v", acked, f)
	}
	s.startCloud()
	s.drained()
	press = s.raw(mqtttest.V5, leafDevice, "")
	if ack := press.Publish(mqtttest.Publish{Topic: events, QoS: 1, Payload: "{}"}); ack.Code != 0 {
		t.Errorf("there is room again: %s", ack)
	}
	s.drained()
	if n := len(s.received()); n != acked+1 {
		t.Errorf("%d messages in the cloud, want %d", n, acked+1)
	}
}

// TestDropOldest: where the newest matters most, the oldest make room and are
// counted, and the publisher is not held up.
func TestDropOldest(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{
		noCloud: true, rules: "rules:\n  - {name: up, from: devices/*, into: $upstream}\n",
		config: "store: {queue_max_bytes: 64KiB, on_full: drop_oldest}\n",
	})
	press := s.leaf(leafDevice, "")
	const all = 200
	pad := strings.Repeat("x", 1000)
	for n := 1; n <= all; n++ {
		publish(t, press, telemetry(fmt.Sprint(n), fmt.Sprintf(`{"n":%d,"pad":%q}`, n, pad)))
	}
	f := s.entry("up", "$upstream")
	if f.Accepted != all || f.Dropped["quota"] != all-f.Queued || f.Queued < 30 || f.Queued > 70 || !f.Balanced {
		t.Errorf("64 KiB for %d messages of 1,000 bytes: %+v", all, f)
	}
	s.startCloud()
	s.drained()
	got := s.received()
	if len(got) != int(f.Queued) || got[0].Origin.Seq != all-f.Queued+1 || got[len(got)-1].Origin.Seq != all {
		t.Errorf("%d messages in the cloud, want the last %d", len(got), f.Queued)
	}
}
