package rules

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
)

// matched names the rules that put m somewhere.
func matched(s *Set, m message.Message) string {
	var names []string
	for _, t := range s.Match(&m, nil) {
		names = append(names, t.Rule)
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

func TestSources(t *testing.T) {
	sources := map[string]string{
		"all": `"*"`, "modules": `modules/*`, "module": `modules/Sensor`, "output": `modules/Sensor/outputs/temp`, "devices": `devices/*`, "device": `devices/leaf1`,
		"twins": `twin-changes`, "filter": `{topic: plant/+/temp}`, "below": `"topic: plant/#"`, "exact": `{topic: plant/a/temp}`, "hash": `{topic: "#"}`, "plus": `{topic: +/x}`,
		"system": `{topic: $SYS/#}`, "map": `{module: Sensor, output: temp}`, "mapdevice": `{device: leaf1}`, "list": `[modules/Sensor, devices/leaf1, "topic: plant/b/temp"]`,
	}
	var file strings.Builder
	file.WriteString("rules:\n")
	names := make([]string, 0, len(sources))
	for name := range sources {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&file, "  - {name: %s, from: %s, into: modules/m/inputs/%s}\n", name, sources[name], name)
	}
	for name, from := range map[string]string{"r-all": "/*", "r-messages": "/messages/*", "r-modules": "/messages/modules/*", "r-module": "/messages/modules/SENSOR/*", "r-outputs": "/messages/modules/sensor/outputs/*",
		"r-output": "/messages/modules/sensor/outputs/temp", "r-twins": "/twinChangeNotifications", "r-topics": "/topics/plant/*", "r-never": "/foo/*"} {
		fmt.Fprintf(&file, "  - {name: %s, route: 'FROM %s INTO BrokeredEndpoint(\"/modules/m/inputs/%s\")'}\n", name, from, name)
	}
	s := compileText(t, file.String())
	for _, c := range []struct {
		m    message.Message
		want string
	}{
		{message.Message{Device: "leaf1"}, "all device devices list mapdevice r-all r-messages"},
		{message.Message{Device: "leaf2"}, "all devices r-all r-messages"},
		{message.Message{Device: "edge", Module: "Sensor"}, "all list module modules r-all r-messages r-module r-modules"},
		{message.Message{Device: "edge", Module: "sensor"}, "all modules r-all r-messages r-module r-modules"},
		{message.Message{Device: "edge", Module: "Sensor", Output: "temp"}, "all list map module modules output r-all r-messages r-module r-modules r-output r-outputs"},
		{message.Message{Device: "edge", Module: "Sensor", Output: "other"}, "all list module modules r-all r-messages r-module r-modules r-outputs"},
		{message.Message{Device: "edge", Module: "möbel"}, "all modules r-all r-messages r-modules"},
		{message.Message{Kind: message.TwinChange, Device: "leaf1"}, "all r-all r-twins twins"},
		{message.Message{Kind: message.TwinChange, Device: "edge", Module: "Sensor"}, "all r-all r-twins twins"},
		{message.Message{Kind: message.Plain, Device: "leaf1", Topic: "plant/a/temp"}, "all below exact filter hash r-all r-topics"},
		{message.Message{Kind: message.Plain, Topic: "plant/b/temp"}, "all below filter hash list r-all r-topics"},
		{message.Message{Kind: message.Plain, Topic: "plant"}, "all below hash r-all r-topics"},
		{message.Message{Kind: message.Plain, Topic: "plant/"}, "all below hash r-all r-topics"},
		{message.Message{Kind: message.Plain, Topic: "/x"}, "all hash plus r-all"},
		{message.Message{Kind: message.Plain, Topic: "$x/x"}, "all r-all"},
		{message.Message{Kind: message.Plain, Topic: "$SYS/x"}, "all r-all system"},
	} {
		if got := matched(s, c.m); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", describe(&c.m), got, c.want)
		}
	}
}

// TestIndexAgreesWithSources: what the index leaves out could not have matched.
func TestIndexAgreesWithSources(t *testing.T) {
	levels := rapid.SampledFrom([]string{"a", "b", "+", "#", "", "$s"})
	rapid.Check(t, func(t *rapid.T) {
		filter := strings.Join(rapid.SliceOfN(levels, 1, 4).Draw(t, "filter"), "/")
		topic := strings.NewReplacer("+", "a", "#", "b").Replace(strings.Join(rapid.SliceOfN(levels, 1, 4).Draw(t, "topic"), "/"))
		src, why := parseSource("topic:" + filter)
		if why != "" || topic == "" {
			return
		}
		var x index
		x.add(0, &src)
		m := message.Message{Kind: message.Plain, Topic: topic}
		if found := len(x.candidates(&m, &work{})) > 0; found != src.matches(&m) {
			t.Fatalf("filter %q topic %q: index %t, source %t", filter, topic, found, src.matches(&m))
		}
	})
}

func TestOneTargetForEachQueue(t *testing.T) {
	s := compileText(t, `rules:
  - {name: late, from: "*", into: [$upstream, modules/m/inputs/i], priority: 5, ttl: 1m}
  - {name: first, from: "*", into: $UPSTREAM, priority: 2, ttl: 2m}
  - {name: tie, from: "*", into: $upstream, priority: 2, ttl: 3m}
  - {name: none, from: "*", into: [$upstream, {topic: a/b}, "topic: c"]}
  - {name: ever, from: "*", into: {topic: d}, ttl: none}
`)
	m := message.Message{Device: "d", Accepted: 1000}
	got := s.Match(&m, []message.Target{{Queue: "session/x"}})
	want := []message.Target{
		{Queue: "session/x"},
		{Queue: Upstream, Rule: "first", Priority: 2, Expires: 1000 + 120_000},
		{Queue: "modules/m/inputs/i", Rule: "late", Priority: 5, Expires: 1000 + 60_000},
		{Queue: "topic/a/b", Rule: "none", Priority: message.PriorityNone, Expires: 1000 + 3_600_000},
		{Queue: "topic/c", Rule: "none", Priority: message.PriorityNone, Expires: 1000 + 3_600_000},
		{Queue: "topic/d", Rule: "ever", Priority: message.PriorityNone},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	queues := s.Queues()
	sort.Strings(queues)
	if d := cmp.Diff([]string{Upstream, "modules/m/inputs/i", "topic/a/b", "topic/c", "topic/d"}, queues); d != "" {
		t.Error(d)
	}
	m.Expires = 5000
	for _, target := range s.Match(&m, nil) {
		if target.Expires != 5000 {
			t.Errorf("%s expires at %d, the publisher said 5000", target.Queue, target.Expires)
		}
	}
}

// TestTheFirstOfEqualsWins although the index keeps them in different lists.
func TestTheFirstOfEqualsWins(t *testing.T) {
	s := compileText(t, `rules:
  - {name: narrow, from: devices/leaf1, where: properties.on == "1", into: $upstream}
  - {name: devices, from: [devices/*, twin-changes], into: $upstream}
  - {name: all, from: "*", into: $upstream}
`)
	on := []message.Property{{Name: "on", Value: "1"}}
	for _, c := range []struct {
		m    message.Message
		want string
	}{
		{message.Message{Device: "leaf1", Properties: on}, "narrow"}, {message.Message{Device: "leaf1"}, "devices"},
		{message.Message{Kind: message.TwinChange, Device: "leaf1"}, "devices"}, {message.Message{Device: "leaf1", Module: "m"}, "all"},
	} {
		if got := matched(s, c.m); got != c.want {
			t.Errorf("%s: %s, want %s", describe(&c.m), got, c.want)
		}
	}
}

func TestSetsAreSafeForConcurrentUse(t *testing.T) {
	s := compileText(t, sample)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 500 {
				temperature := 20 + (i+n)%20
				m := message.Message{Module: "sensor", Output: "temperature", Body: fmt.Appendf(nil, `{"machine":{"temperature":%d}}`, temperature)}
				if got := len(s.Match(&m, nil)) == 1; got != (temperature > 25) {
					t.Errorf("%d: %t", temperature, got)
				}
			}
		})
	}
	all.Wait()
}

func TestQueueNames(t *testing.T) {
	for queue, want := range map[string]Sink{
		"$upstream": {Kind: SinkUpstream}, "modules/m/inputs/i": {Kind: SinkModule, Module: "m", Input: "i"}, "topic/a/b": {Kind: SinkTopic, Topic: "a/b"},
	} {
		got, err := ParseQueue(queue)
		if err != nil || got != want || got.Queue() != queue {
			t.Errorf("%s: %+v %v, name %s", queue, got, err, got.Queue())
		}
	}
	for _, queue := range []string{"", "topic/", "session/x", "modules/m/inputs/", "modules//inputs/i", "modules/m/outputs/i", "modules/m/inputs/i/j"} {
		if got, err := ParseQueue(queue); err == nil {
			t.Errorf("%q: %+v", queue, got)
		}
	}
}

func TestTTL(t *testing.T) {
	for text, want := range map[string]time.Duration{"none": 0, "30s": 30 * time.Second, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute, "1ms": time.Millisecond} {
		if got, err := ParseTTL(text); err != nil || got != want {
			t.Errorf("%s: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "0s", "-1h", "1", "1w", "d", "1d1", "99999d", "1us", "4000d"} {
		if got, err := ParseTTL(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}

var body256 = func() []byte {
	b := []byte(`{"machine":{"id":"machine-0001","temperature":31.25,"pressure":1.013},"ambient":{"temperature":21.5,"humidity":40},"timeCreated":"2026-11-01T12:00:00.000Z","note":"`)
	b = append(b, slices.Repeat([]byte("x"), 256-len(b)-2)...)
	return append(b, `"}`...)
}()

func BenchmarkMatch(b *testing.B) {
	thousand := strings.Builder{}
	thousand.WriteString("rules:\n")
	for i := range 1000 {
		fmt.Fprintf(&thousand, "  - {name: r%d, from: modules/sensor, where: body.machine.temperature > %d, into: $upstream}\n", i, i)
	}
	spread := strings.Builder{}
	spread.WriteString("rules:\n")
	for i := range 10_000 {
		fmt.Fprintf(&spread, "  - {name: r%d, from: {topic: plant/%d/temp}, where: body.machine.temperature > 25, into: $upstream}\n", i, i)
	}
	sensor := message.Message{Module: "sensor", Output: "temperature", Accepted: 1, Body: body256}
	topic := message.Message{Kind: message.Plain, Topic: "plant/77/temp", Accepted: 1, Body: body256}
	edge := sensor
	edge.System = []message.Property{{Name: "contentType", Value: "application/json"}, {Name: "contentEncoding", Value: "utf-8"}}
	for _, c := range []struct {
		name, rules string
		m           message.Message
	}{
		{"fails on the source", sample, topic},
		{"no condition", "rules:\n  - {name: a, from: modules/sensor, into: $upstream}\n", sensor},
		{"a property", "rules:\n  - {name: a, from: modules/sensor, where: properties.a != \"b\", into: $upstream}\n", sensor},
		{"a body field", sample, sensor},
		{"a body field, route", "rules:\n  - {name: a, route: FROM /messages/modules/sensor/* WHERE $body.machine.temperature > 25 INTO $upstream}\n", edge},
		{"1000 rules on one field", thousand.String(), sensor},
		{"10000 rules by topic", spread.String(), topic},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := compileText(b, c.rules)
			dst := make([]message.Target, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				dst = s.Match(&c.m, dst[:0])
			}
		})
	}
}
