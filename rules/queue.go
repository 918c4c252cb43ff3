package rules

import (
	"fmt"
	"strings"
)

// Upstream is the queue of what goes to the parent.
const Upstream = "$upstream"

// SinkKind says what consumes a queue.
type SinkKind uint8

// The kinds of sinks.
const (
	SinkUpstream SinkKind = iota // the parent
	SinkModule                   // an input of a module on this device
	SinkTopic                    // a topic of the local broker
)

// Sink is what stands behind a queue of rules. Rules that name the same sink
// share its queue.
type Sink struct {
	Kind   SinkKind
	Module string // SinkModule
	Input  string // SinkModule
	Topic  string // SinkTopic
}

// Queue is the name of the sink's queue: $upstream, modules/{module}/inputs/{input}
// or topic/{topic}.
func (s Sink) Queue() string {
	switch s.Kind {
	case SinkModule:
		return "modules/" + s.Module + "/inputs/" + s.Input
	case SinkTopic:
		return "topic/" + s.Topic
	}
	return Upstream
}

// ParseQueue says what stands behind a queue's name; ErrQueue for other names.
func ParseQueue(queue string) (Sink, error) {
	if queue == Upstream {
		return Sink{Kind: SinkUpstream}, nil
	}
	if topic, ok := strings.CutPrefix(queue, "topic/"); ok && topic != "" {
		return Sink{Kind: SinkTopic, Topic: topic}, nil
	}
	if p := strings.Split(queue, "/"); len(p) == 4 && p[0] == "modules" && p[1] != "" && p[2] == "inputs" && p[3] != "" {
		return Sink{Kind: SinkModule, Module: p[1], Input: p[3]}, nil
	}
	return Sink{}, fmt.Errorf("%w: %q", ErrQueue, queue)
}

const sinkForms = "$upstream, modules/{module}/inputs/{input} or {topic: name}"

// parseSink reads a sink as rule files write it; why says what is wrong with it.
func parseSink(text string) (s Sink, why string) {
	if strings.EqualFold(text, Upstream) {
		return Sink{Kind: SinkUpstream}, ""
	}
	if topic, ok := strings.CutPrefix(text, "topic:"); ok {
		return parseTopicSink(strings.TrimSpace(topic))
	}
	p := strings.Split(text, "/")
	if len(p) != 4 || p[0] != "modules" || p[2] != "inputs" {
		return s, fmt.Sprintf("unknown sink %q; expected %s", text, sinkForms)
	}
	for _, id := range []string{p[1], p[3]} {
		if why := checkID(id); why != "" {
			return s, why
		}
	}
	return Sink{Kind: SinkModule, Module: p[1], Input: p[3]}, ""
}

func parseTopicSink(topic string) (s Sink, why string) {
	switch {
	case strings.ContainsAny(topic, "+#"):
		return s, fmt.Sprintf("the topic %q has a wildcard; expected the name of one topic", topic)
	case strings.HasPrefix(topic, "$"):
		return s, fmt.Sprintf("the topic %q begins with $, which is the broker's own", topic)
	}
	return Sink{Kind: SinkTopic, Topic: topic}, checkTopic(topic)
}

const (
	maxID    = 128
	maxTopic = 1024
)

// checkID says what is wrong with the name of a device, module, input or output.
func checkID(id string) string {
	switch {
	case id == "":
		return "an empty name; expected the name of a device, module, input or output"
	case len(id) > maxID:
		return fmt.Sprintf("a name longer than %d bytes", maxID)
	case strings.ContainsAny(id, "/+#*") || hasControl(id):
		return fmt.Sprintf("%q is no name: / + # * and control characters are not allowed", id)
	}
	return ""
}

func checkTopic(topic string) string {
	switch {
	case topic == "":
		return "an empty topic"
	case len(topic) > maxTopic:
		return fmt.Sprintf("a topic longer than %d bytes", maxTopic)
	case hasControl(topic):
		return fmt.Sprintf("%q is no topic: control characters are not allowed", topic)
	}
	return ""
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || 0x7f <= r && r <= 0x9f || r == '\uFFFD' })
}
