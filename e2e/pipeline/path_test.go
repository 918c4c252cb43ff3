package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/internal/reconcile"
	"github.com/penstock-io/penstock/iothub"
	"github.com/penstock-io/penstock/message"
)

const pathRules = `
rules:
  - {name: telemetry, from: devices/*, into: $upstream}
  - name: hot
    from: devices/*
    where: body.t > 90 && properties.quiet != "true"
    select: {hot: body.t}
    into:
      - modules/filter/inputs/in
      - topic: alerts/hot
  - {name: filtered, from: modules/filter/outputs/out, into: $upstream}
  - {name: plain, topic: sensors/#, into: $upstream}
`

// TestPath follows messages from a device, a module and a plain client to the
// cloud, to the module and to a plain subscriber.
func TestPath(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{rules: pathRules})
	alerts := s.plain(mqtttest.V311, "alerts")
	alerts.Subscribe("alerts/#", 1)
	inputs := s.runFilter()

	press := s.leaf(leafDevice, "")
	var all []*message.Message
	for n := 81; n <= 100; n++ {
		all = append(all, telemetry(fmt.Sprint("m-", n), fmt.Sprintf(`{"t":%d}`, n)))
	}
	publish(t, press, all...)
	publish(t, press, all[10:]...) // a leaf that lost the acknowledgements
	publish(t, press, telemetry("quiet", `{"t":99}`, message.Property{Name: "quiet", Value: "true"}))
	publish(t, press, telemetry("text", `hot, but no JSON`))

	kitchen := s.plain(mqtttest.V5, "kitchen")
	if ack := kitchen.Publish(mqtttest.Publish{Topic: "sensors/kitchen/temp", QoS: 2, Payload: "21.5", Props: []mqtttest.Prop{mqtttest.User("room", "1")}}); ack.Code != 0 {
		t.Fatalf("plain publish: %s", ack)
	}

	var hot []string
	for n := 91; n <= 100; n++ {
		hot = append(hot, fmt.Sprintf(`{"hot":%d}`, n))
		if p := alerts.Receive(); p.Topic != "alerts/hot" || string(p.Payload) != hot[n-91] {
			t.Fatalf("the subscriber got %q %s, want %s", p.Topic, p.Payload, hot[n-91])
		}
	}
	s.drained()
	until(t, "the module's messages in the cloud", func() error {
		if n := len(s.received()); n < 33 {
			return fmt.Errorf("%d messages", n)
		}
		return nil
	})
	s.drained()
	if diff := cmp.Diff(hot, inputs()); diff != "" {
		t.Errorf("what the module got:\n%s", diff)
	}
	checkPath(t, s.received(), hot)

	rep, err := reconcile.Fetch(t.Context(), s.edgeAPI, s.cloud)
	if err != nil || !rep.Balanced || rep.InCloud != 33 {
		t.Errorf("edge and cloud do not agree: %+v, %v", rep, err)
	}
	if l := s.ledger(); l.Duplicates != 10 || l.Total.Delivered != 53 {
		t.Errorf("ledger: %d repeated, %d delivered, want 10 and 53: %+v", l.Duplicates, l.Total.Delivered, l.Entries)
	}
}

// runFilter is the module of the rules: what comes in goes out. The returned
// function tells the bodies it got.
func (s *site) runFilter() func() []string {
	s.t.Helper()
	c := s.leaf(edgeDevice, module)
	var log lines
	sent := make(chan *leaf.Sent, 100)
	err := c.Subscribe(s.t.Context(), "devices/"+edgeDevice+"/modules/"+module+"/inputs/#", 1, func(topic string, body []byte, _ bool) {
		in, ok := iothub.ParseInput(topic)
		if !ok || in.Input != "in" {
			s.t.Errorf("the module got topic %q", topic)
		}
		fmt.Fprintf(&log, "%s\n", body)
		sent <- c.Publish(&message.Message{QoS: 1, Device: edgeDevice, Module: module, Output: "out", Body: slices.Clone(body)})
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return func() (got []string) {
		for range len(sent) {
			if err := (<-sent).Wait(s.t.Context()); err != nil {
				s.t.Error(err)
			}
		}
		for line := range strings.Lines(log.String()) {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
		return got
	}
}

// checkPath: the stream holds each message once, in its source's order, under
// the identity of its sender.
func checkPath(t *testing.T, all []cloud.Message, hot []string) {
	t.Helper()
	var press, filter, plain []string
	for _, m := range all {
		body, err := m.Payload()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Kind == "plain":
			plain = append(plain, m.Topic+" "+string(body))
		case m.Device == leafDevice && m.Module == "":
			press = append(press, string(body))
		case m.Device == edgeDevice && m.Module == module && m.Output == "out":
			filter = append(filter, string(body))
		default:
			t.Errorf("unexpected: %+v", m)
		}
		if m.Origin == nil || m.Origin.Device != edgeDevice {
			t.Errorf("message %d has origin %+v", m.Seq, m.Origin)
		}
	}
	var want []string
	for n := 81; n <= 100; n++ {
		want = append(want, fmt.Sprintf(`{"t":%d}`, n))
	}
	want = append(want, `{"t":99}`, `hot, but no JSON`)
	for name, diff := range map[string]string{
		"device": cmp.Diff(want, press), "module": cmp.Diff(hot, filter), "plain": cmp.Diff([]string{"sensors/kitchen/temp 21.5"}, plain),
	} {
		if diff != "" {
			t.Errorf("of the %s in the cloud:\n%s", name, diff)
		}
	}
}

// TestNoCloud: an edge without a cloud starts, acknowledges and queues; the
// cloud comes later and gets it all.
func TestNoCloud(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{noCloud: true, rules: pathRules})
	press := s.leaf(leafDevice, "")
	for n := range 50 {
		publish(t, press, telemetry(fmt.Sprint(n), fmt.Sprintf(`{"t":%d}`, n)))
	}
	if f := s.entry("telemetry", "$upstream"); f.Accepted != 50 || f.Queued != 50 || !f.Balanced {
		t.Fatalf("without a cloud: %+v", f)
	}
	s.startCloud()
	s.drained()
	all := s.received()
	for i, m := range all {
		if want := fmt.Sprintf(`{"t":%d}`, i); string(m.Body) != want {
			t.Fatalf("message %d is %s, want %s", i, m.Body, want)
		}
	}
	if len(all) != 50 {
		t.Errorf("%d messages in the cloud, want 50", len(all))
	}
}

// TestUplinkCutAndRestored by hand, as edgectl's quickstart does on a key.
func TestUplinkCutAndRestored(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{rules: pathRules})
	state := func(want string) {
		t.Helper()
		until(t, "the uplink to be "+want, func() error {
			st, err := s.edgeAPI.Status(t.Context())
			if err == nil && st.Uplink.State != want {
				err = fmt.Errorf("it is %s: %s", st.Uplink.State, st.Uplink.LastError)
			}
			return err
		})
	}
	state("connected")
	if err := s.edgeAPI.CutUplink(context.Background()); err != nil {
		t.Fatal(err)
	}
	state("cut")
	publish(t, s.leaf(leafDevice, ""), telemetry("1", `{"t":1}`))
	if f := s.entry("telemetry", "$upstream"); f.Queued != 1 {
		t.Errorf("while cut: %+v", f)
	}
	if err := s.edgeAPI.RestoreUplink(context.Background()); err != nil {
		t.Fatal(err)
	}
	state("connected")
	s.drained()
	if n := len(s.received()); n != 1 {
		t.Errorf("%d messages in the cloud, want 1", n)
	}
}
