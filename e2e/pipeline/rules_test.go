package pipeline

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
)

// TestPriorityAndTTL: of several rules for one queue the lowest number wins and
// brings its time to live.
func TestPriorityAndTTL(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{noCloud: true, rules: `
rules:
  - {name: low, from: devices/*, into: $upstream, priority: 5, ttl: 3h}
  - {name: urgent, from: devices/*, where: properties.level == "high", into: $upstream, priority: 0, ttl: 1h}
  - {name: fleeting, from: devices/*, where: properties.level == "short", into: $upstream, priority: 1, ttl: 1s}
`})
	press := s.leaf(leafDevice, "")
	level := func(l string) message.Property { return message.Property{Name: "level", Value: l} }
	publish(t, press,
		telemetry("a", `"low 1"`), telemetry("b", `"short"`, level("short")), telemetry("c", `"high 1"`, level("high")),
		telemetry("d", `"low 2"`), telemetry("e", `"high 2"`, level("high")))

	waiting, err := s.edgeAPI.Peek(t.Context(), "$upstream", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	ttls := map[string]time.Duration{"low": 3 * time.Hour, "urgent": time.Hour, "fleeting": time.Second}
	rules := map[string]string{"a": "low", "b": "fleeting", "c": "urgent", "d": "low", "e": "urgent"}
	for _, m := range waiting {
		rule := rules[m.System[message.SysMessageID]]
		if m.Rule != rule || m.Expires == nil || m.Expires.Sub(m.Accepted) != ttls[rule] {
			t.Errorf("%s waits by rule %s until %v, want %s and %v", m.System, m.Rule, m.Expires, rule, ttls[rule])
		}
	}
	if len(waiting) < 4 { // the fleeting one may be gone
		t.Errorf("%d messages wait, want 5", len(waiting))
	}
	until(t, "the fleeting message to expire", func() error {
		if f := s.entry("fleeting", "$upstream"); f.Expired != 1 || !f.Balanced {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
	s.startCloud()
	s.drained()
	var got []string
	for _, m := range s.received() {
		got = append(got, string(m.Body))
	}
	if all := strings.Join(got, " "); all != `"high 1" "high 2" "low 1" "low 2"` {
		t.Errorf("in the cloud: %s", all)
	}
}

// TestHotReload: good rules come into force while messages flow, a mistake
// changes nothing and is told, also over a restart.
func TestHotReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{rules: "rules:\n  - {name: first, from: devices/*, into: $upstream}\n", noCloud: true})
	press := s.leaf(leafDevice, "")
	n := 0
	send := func(rule string, want uint64) {
		t.Helper()
		n++
		publish(t, press, telemetry(fmt.Sprint(n), "{}"))
		if f := s.entry(rule, "$upstream"); f.Accepted != want {
			t.Errorf("message %d: %d accepted by %s, want %d", n, f.Accepted, rule, want)
		}
	}
	send("first", 1)

	s.writeRules("rules:\n  - {name: second, from: devices/*, into: $upstream}\n  - {name: third, from: devices/none, into: $upstream}\n")
	until(t, "the new rules", func() error {
		st, err := s.edgeAPI.Status(t.Context())
		if err == nil && st.Rules.Active != 2 {
			err = errNotYet
		}
		return err
	})
	send("second", 1)

	s.writeRules("rules:\n  - name: second\n    from: devices/*\n    where: body.t >\n    into: $upstream\n")
	faults := func() {
		t.Helper()
		until(t, "the mistake to be told", func() error {
			st, err := s.edgeAPI.Status(t.Context())
			if err == nil && len(st.Rules.Errors) == 0 {
				err = errNotYet
			}
			if err == nil && (!strings.Contains(st.Rules.Errors[0], "rules.yaml:4:") || st.Rules.Active != 2) {
				t.Fatalf("%d rules active, told is %q, want 2 and the place rules.yaml:4", st.Rules.Active, st.Rules.Errors)
			}
			return err
		})
	}
	faults()
	send("second", 2)

	press.Close()
	s.stopEdge()
	s.startEdge()
	faults()
	press = s.leaf(leafDevice, "")
	send("second", 3)

	s.writeRules("rules:\n  - {name: fourth, from: devices/*, into: $upstream}\n")
	until(t, "the mistake to be mended", func() error {
		st, err := s.edgeAPI.Status(t.Context())
		if err == nil && len(st.Rules.Errors)+st.Rules.Active != 1 {
			err = fmt.Errorf("%+v", st.Rules)
		}
		return err
	})
	send("fourth", 1)
	s.startCloud()
	s.drained()
	if got := len(s.received()); got != n {
		t.Errorf("%d messages in the cloud, want %d", got, n)
	}
}

// TestThousandRules: one bad rule among a thousand keeps them all out; without
// it a message that all of them match goes up once.
func TestThousandRules(t *testing.T) {
	t.Parallel()
	file := func(last string) string {
		var b strings.Builder
		b.WriteString("rules:\n")
		for n := range 999 {
			fmt.Fprintf(&b, "  - {name: rule-%d, from: devices/*, where: body.t > %d, into: $upstream}\n", n, n-1000)
		}
		return b.String() + "  - {name: last, from: devices/*, where: " + last + ", into: $upstream}\n"
	}
	s := newSite(t, options{rules: "rules:\n  - {name: up, from: devices/*, into: $upstream}\n"})
	s.writeRules(file("body.t >> 1"))
	status := func(active, errors int) {
		t.Helper()
		until(t, fmt.Sprint(active, " rules in force"), func() error {
			st, err := s.edgeAPI.Status(t.Context())
			if err == nil && (st.Rules.Active != active || len(st.Rules.Errors) != errors) {
				err = fmt.Errorf("%d active, errors %q", st.Rules.Active, st.Rules.Errors)
			}
			return err
		})
	}
	status(1, 1)
	s.writeRules(file("body.t > 1"))
	status(1000, 0)
	publish(t, s.leaf(leafDevice, ""), telemetry("1", `{"t":5}`))
	s.drained()
	if n := len(s.received()); n != 1 {
		t.Errorf("%d messages in the cloud, want 1", n)
	}
}

// TestFirstStartOverAMistake: without rules that were ever good there is nothing
// to go on with, and acknowledging what no rule would take is no way to start.
func TestFirstStartOverAMistake(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{noCloud: true, rules: "rules:\n  - {name: up, from: devices/*, into: $upstream}\n"})
	s.stopEdge()
	if err := os.RemoveAll(s.path("edge")); err != nil {
		t.Fatal(err)
	}
	s.writeRules("rules:\n  - {name: up, from: devices/*, into: upstream}\n")
	h, err := s.openEdge()
	if err == nil {
		run(t, "edgehub", h)()
		t.Fatal("the edge started without rules")
	}
	if !strings.Contains(err.Error(), "rules.yaml:2:") {
		t.Errorf("no place in: %v", err)
	}
}
