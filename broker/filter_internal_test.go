package broker

import (
	"context"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/message"
)

// oracle applies a topic filter by the book, level by level (4.7).
func oracle(filter, topic []string) bool {
	switch {
	case len(filter) > 0 && filter[0] == "#":
		return true
	case len(filter) == 0 || len(topic) == 0:
		return len(filter) == 0 && len(topic) == 0
	case filter[0] != "+" && filter[0] != topic[0]:
		return false
	}
	return oracle(filter[1:], topic[1:])
}

func TestMatchingByTheBook(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "", "$x"})
	rapid.Check(t, func(t *rapid.T) {
		topic := rapid.SliceOfN(level, 1, 4).Draw(t, "topic")
		filter := rapid.SliceOfN(rapid.OneOf(level, rapid.Just("+")), 0, 4).Draw(t, "filter")
		if rapid.Bool().Draw(t, "hash") || len(filter) == 0 {
			filter = append(filter, "#")
		}
		name, pattern := join(topic), join(filter)
		if name == "" || pattern == "" {
			return
		}
		want := oracle(filter, topic)
		if name[0] == '$' && (pattern[0] == '+' || pattern[0] == '#') {
			want = false // MQTT-4.7.2-1
		}
		if got := matchesFilter(pattern, name); got != want {
			t.Fatalf("filter %q, topic %q: %v, want %v", pattern, name, got, want)
		}
		if got := reaches(pattern, name); got != want {
			t.Fatalf("subscription %q, topic %q: %v, want %v", pattern, name, got, want)
		}
		if got := reaches("$share/g/"+pattern, name); got != want {
			t.Fatalf("shared subscription %q, topic %q: %v, want %v", pattern, name, got, want)
		}
	})
}

func join(levels []string) string {
	s := levels[0]
	for _, l := range levels[1:] {
		s += "/" + l
	}
	return s
}

// reaches asks the tree and what is kept beside it.
func reaches(filter, topic string) bool {
	b, err := New(Config{}, Deps{})
	if err != nil {
		panic(err)
	}
	b.sessions.list["c"] = newSession(b, "c", false)
	p := packets.Subscription{Filter: filter}
	b.server.Topics.Subscribe("c", p)
	b.matches.deep.add("c", p)
	found := !b.matches.get(topic).empty()
	b.matches.deep.remove("c", filter)
	if b.server.Topics.Unsubscribe(filter, "c"); !b.matches.build(topic, 0).empty() {
		panic("found after it was removed")
	}
	return found
}

func TestBacklogDoesNotPinItsRuns(t *testing.T) {
	b, err := New(Config{}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(b, "c", true)
	run := make([]byte, 64<<10)
	for range backlog + 10 {
		s.push(out{msg: messageIn(run), qos: 1})
	}
	for i := range s.qos12.len() {
		if own := s.qos12.buf[i].own; own != (i >= backlog) {
			t.Fatalf("message %d has memory of its own: %v", i, own)
		}
	}
}

// A client id is free for a new connection although the old one's last write is
// stuck, and a session ends on time.
func TestExpiryHoldsTheClientID(t *testing.T) {
	b, err := New(Config{}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := newSession(b, "c", true)
	b.sessions.list["c"] = s
	b.sessions.holders["c"] = holder{done: make(chan struct{})}
	b.sessions.expire(s)
	if b.sessions.get("c") == nil {
		t.Error("a session was ended while somebody held its client id")
	}
	delete(b.sessions.holders, "c")
	b.sessions.countdown(s)
	for b.sessions.get("c") != nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
}

func messageIn(run []byte) *message.Message { return &message.Message{Topic: "t", Body: run[:16]} }
