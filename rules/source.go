package rules

import (
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules/route"
)

type sourceKind uint8

const (
	fromAll sourceKind = iota
	fromModules
	fromModule
	fromDevices
	fromDevice
	fromTopic
	fromTwins
	fromRoute // as an IoT Edge route says
)

// source is one place that a rule takes messages from.
type source struct {
	kind   sourceKind
	text   string // as written
	id     string // of a module or device
	output string // of a module; empty: any or none
	filter string // of topics
	route  route.Source
}

const sourceForms = "modules/{module}[/outputs/{output}], modules/*, devices/{device}, devices/*, twin-changes, * or {topic: filter}"

// parseSource reads a source as rule files write it; why says what is wrong with it.
func parseSource(text string) (s source, why string) {
	s.text = text
	if filter, ok := strings.CutPrefix(text, "topic:"); ok {
		return parseTopicSource(strings.TrimSpace(filter))
	}
	p := strings.Split(text, "/")
	switch {
	case text == "*":
		s.kind = fromAll
		return s, ""
	case text == "twin-changes":
		s.kind = fromTwins
		return s, ""
	case text == "modules/*":
		s.kind = fromModules
		return s, ""
	case text == "devices/*":
		s.kind = fromDevices
		return s, ""
	case len(p) == 2 && p[0] == "devices":
		s.kind, s.id = fromDevice, p[1]
		return s, checkID(s.id)
	case len(p) == 2 && p[0] == "modules":
		s.kind, s.id = fromModule, p[1]
		return s, checkID(s.id)
	case len(p) == 4 && p[0] == "modules" && p[2] == "outputs":
		s.kind, s.id, s.output = fromModule, p[1], p[3]
		if why := checkID(s.output); why != "" {
			return s, why
		}
		return s, checkID(s.id)
	}
	return s, fmt.Sprintf("unknown source %q; expected %s", text, sourceForms)
}

func parseTopicSource(filter string) (s source, why string) {
	s = source{kind: fromTopic, text: "topic: " + filter, filter: filter}
	if why := checkTopic(filter); why != "" {
		return s, why
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case strings.Contains(level, "#") && (level != "#" || i != len(levels)-1):
			return s, fmt.Sprintf("the filter %q is wrong: # stands alone on the last level", filter)
		case strings.Contains(level, "+") && level != "+":
			return s, fmt.Sprintf("the filter %q is wrong: + stands alone on its level", filter)
		}
	}
	return s, ""
}

// matches reports whether m comes from s.
func (s *source) matches(m *message.Message) bool {
	switch s.kind {
	case fromAll:
		return true
	case fromModules:
		return m.Kind == message.Telemetry && m.Module != ""
	case fromModule:
		return m.Kind == message.Telemetry && m.Module == s.id && (s.output == "" || m.Output == s.output)
	case fromDevices:
		return m.Kind == message.Telemetry && m.Module == ""
	case fromDevice:
		return m.Kind == message.Telemetry && m.Module == "" && m.Device == s.id
	case fromTopic:
		return m.Kind == message.Plain && topicMatches(s.filter, m.Topic)
	case fromTwins:
		return m.Kind == message.TwinChange
	}
	return s.matchesRoute(m)
}

// matchesRoute compares with the message's source of contract 5.2.
func (s *source) matchesRoute(m *message.Message) bool {
	var room [8]string
	segments := append(room[:0], "messages")
	switch {
	case m.Kind == message.TwinChange:
		segments[0] = "twinChangeNotifications"
	case m.Kind == message.Plain:
		segments[0] = "topics"
		for level := range strings.SplitSeq(m.Topic, "/") {
			if len(segments) >= len(s.route.Segments) {
				break
			}
			segments = append(segments, level)
		}
	case m.Module != "":
		segments = append(segments, "modules", m.Module)
		if m.Output != "" {
			segments = append(segments, "outputs", m.Output)
		}
	}
	return s.route.Matches(segments...)
}

// topicMatches is MQTT's matching (MQTT 5, 4.7): wildcards on the first level do
// not match topics that begin with $.
func topicMatches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		want, filterRest, moreFilter := strings.Cut(filter, "/")
		have, topicRest, moreTopic := strings.Cut(topic, "/")
		switch {
		case want == "#":
			return true
		case want != "+" && want != have:
			return false
		case !moreFilter || !moreTopic:
			return moreFilter == moreTopic || moreFilter && filterRest == "#"
		}
		filter, topic = filterRest, topicRest
	}
}

// describe says where m comes from, in the words of rule files.
func describe(m *message.Message) string {
	switch {
	case m.Kind == message.TwinChange:
		if m.Module != "" {
			return "twin-changes (of module " + m.Module + " of " + m.Device + ")"
		}
		return "twin-changes (of " + m.Device + ")"
	case m.Kind == message.Plain:
		return "topic: " + m.Topic
	case m.Module == "":
		return "devices/" + m.Device
	case m.Output == "":
		return "modules/" + m.Module
	}
	return "modules/" + m.Module + "/outputs/" + m.Output
}
