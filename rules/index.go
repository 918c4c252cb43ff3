package rules

import (
	"slices"
	"strings"

	"github.com/penstock-io/penstock/message"
)

// entry is a rule that may match; source is nil when being in the list is proof
// enough that its source does.
type entry struct {
	rule   int32
	source *source
}

// index finds the rules whose source can match a message without trying all.
// Every list is in the order of the rules.
type index struct {
	all       []entry
	telemetry []entry // of devices and modules alike
	modules   []entry
	module    map[string][]entry // by lower-case module id
	devices   []entry
	device    map[string][]entry
	twins     []entry
	plain     []entry // routes from /topics/…
	topics    level
}

// level is a node of the tree of topic filters.
type level struct {
	next map[string]*level
	plus *level
	here []entry // filters that end here
	hash []entry // filters that end in # here
}

func (x *index) add(rule int32, s *source) {
	e := entry{rule: rule, source: s}
	switch s.kind {
	case fromAll:
		x.all = append(x.all, entry{rule: rule})
	case fromModules:
		x.modules = append(x.modules, e)
	case fromModule:
		x.addModule(s.id, e)
	case fromDevices:
		x.devices = append(x.devices, e)
	case fromDevice:
		if x.device == nil {
			x.device = map[string][]entry{}
		}
		x.device[s.id] = append(x.device[s.id], e)
	case fromTwins:
		x.twins = append(x.twins, e)
	case fromTopic:
		x.topics.add(s.filter, entry{rule: rule})
	case fromRoute:
		x.addRoute(e)
	}
}

func (x *index) addModule(id string, e entry) {
	if x.module == nil {
		x.module = map[string][]entry{}
	}
	id = strings.ToLower(id)
	x.module[id] = append(x.module[id], e)
}

// addRoute files a route under what its source begins with. Other sources are
// allowed and match nothing.
func (x *index) addRoute(e entry) {
	s := e.source.route.Segments
	switch {
	case len(s) == 0:
		x.all = append(x.all, e)
	case e.source.route.IsTwin():
		x.twins = append(x.twins, e)
	case s[0] == "topics":
		x.plain = append(x.plain, e)
	case s[0] != "messages":
	case len(s) == 1:
		x.telemetry = append(x.telemetry, e)
	case s[1] != "modules":
	case len(s) == 2:
		x.modules = append(x.modules, e)
	default:
		x.addModule(s[2], e)
	}
}

// candidates returns the rules that m may match, in their order. The result may
// use w's memory.
func (x *index) candidates(m *message.Message, w *work) []entry {
	w.entries = w.entries[:0]
	lists := 0
	add := func(list []entry) {
		if len(list) > 0 {
			w.entries = append(w.entries, list...)
			lists++
		}
	}
	add(x.all)
	switch {
	case m.Kind == message.TwinChange:
		add(x.twins)
	case m.Kind == message.Plain:
		add(x.plain)
		x.topics.find(m.Topic, strings.HasPrefix(m.Topic, "$"), add)
	case m.Module == "":
		add(x.telemetry)
		add(x.devices)
		add(x.device[m.Device])
	default:
		add(x.telemetry)
		add(x.modules)
		w.key = appendLower(w.key[:0], m.Module)
		add(x.module[string(w.key)])
	}
	if lists > 1 {
		slices.SortStableFunc(w.entries, func(a, b entry) int { return int(a.rule) - int(b.rule) })
	}
	return w.entries
}

// appendLower appends s in lower case; unlike strings.ToLower it allocates
// nothing for plain ASCII.
func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= 0x80 {
			return append(dst[:0], strings.ToLower(s)...)
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func (l *level) add(filter string, e entry) {
	for {
		first, rest, more := strings.Cut(filter, "/")
		switch first {
		case "#":
			l.hash = append(l.hash, e)
			return
		case "+":
			if l.plus == nil {
				l.plus = &level{}
			}
			l = l.plus
		default:
			if l.next == nil {
				l.next = map[string]*level{}
			}
			if l.next[first] == nil {
				l.next[first] = &level{}
			}
			l = l.next[first]
		}
		if !more {
			l.here = append(l.here, e)
			return
		}
		filter = rest
	}
}

// find calls found with the filters that match topic. At the first level of a
// topic that begins with $ wildcards do not count.
func (l *level) find(topic string, system bool, found func([]entry)) {
	if !system {
		found(l.hash)
	}
	first, rest, more := strings.Cut(topic, "/")
	if !system && l.plus != nil {
		l.plus.follow(rest, more, found)
	}
	if next := l.next[first]; next != nil {
		next.follow(rest, more, found)
	}
}

func (l *level) follow(rest string, more bool, found func([]entry)) {
	if more {
		l.find(rest, false, found)
		return
	}
	found(l.here)
	found(l.hash)
}
