package broker

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/message"
)

// matches caches which sessions a topic reaches. mochi's tree is asked once per
// topic until a subscription changes anywhere; asking allocates four maps.
type matches struct {
	b    *Broker
	gen  atomic.Uint64
	mu   sync.RWMutex
	list map[string]*match
}

const maxMatches = 4096

func (x *matches) init(b *Broker) {
	x.b, x.list = b, make(map[string]*match)
}

// changed makes every cached answer stale.
func (x *matches) changed() { x.gen.Add(1) }

func (x *matches) get(topic string) *match {
	gen := x.gen.Load()
	x.mu.RLock()
	m := x.list[topic]
	x.mu.RUnlock()
	if m != nil && m.gen == gen {
		return m
	}
	m = x.build(topic, gen)
	x.mu.Lock()
	if len(x.list) >= maxMatches {
		clear(x.list)
	}
	x.list[topic] = m
	x.mu.Unlock()
	return m
}

func (x *matches) build(topic string, gen uint64) *match {
	m := &match{gen: gen}
	found := x.b.server.Topics.Subscribers(topic)
	for id, s := range found.Subscriptions {
		if ses := x.b.sessions.get(id); ses != nil {
			m.subs = append(m.subs, newSubscriber(ses, s))
		}
	}
	for _, group := range found.Shared {
		var members []subscriber
		for id, s := range group {
			if ses := x.b.sessions.get(id); ses != nil {
				members = append(members, newSubscriber(ses, s))
			}
		}
		if len(members) > 0 {
			slices.SortFunc(members, func(a, b subscriber) int { return strings.Compare(a.s.id, b.s.id) })
			m.groups = append(m.groups, &shareGroup{members: members})
		}
	}
	m.prepare()
	return m
}

// match is the answer for one topic.
type match struct {
	gen    uint64
	subs   []subscriber
	groups []*shareGroup
	plain  bool // no groups, no No Local: targets below are always right
	fixed  [3][2][]message.Target
}

// subscriber is one session's merged subscriptions to a topic.
type subscriber struct {
	s       *session
	qos     byte
	rap     bool
	noLocal bool
	ids     []byte // encoded subscription identifier properties
}

// shareGroup is a shared subscription; its members take turns.
type shareGroup struct {
	members []subscriber
	next    atomic.Uint32
}

func newSubscriber(s *session, p packets.Subscription) subscriber {
	sub := subscriber{s: s, qos: p.Qos, rap: p.RetainAsPublished, noLocal: p.NoLocal}
	ids := make([]int, 0, len(p.Identifiers))
	for _, id := range p.Identifiers {
		if id > 0 {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 && p.Identifier > 0 {
		ids = append(ids, p.Identifier)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		sub.ids = wire.AppendVarintProp(sub.ids, wire.PropSubscriptionID, id)
	}
	return sub
}

func (m *match) empty() bool { return len(m.subs) == 0 && len(m.groups) == 0 }

// prepare computes the targets of the common case once.
func (m *match) prepare() {
	m.plain = len(m.groups) == 0 && !slices.ContainsFunc(m.subs, func(s subscriber) bool { return s.noLocal })
	if !m.plain {
		return
	}
	for qos := byte(1); qos <= 2; qos++ {
		for r := range 2 {
			m.fixed[qos][r] = m.targets(&message.Message{QoS: qos, Retain: r == 1}, "")
		}
	}
}

// durable returns the session queues that get msg, shared subscriptions
// included; the slice may be shared with other messages.
func (m *match) durable(msg *message.Message, publisher string) []message.Target {
	if m.plain && msg.Expires == 0 {
		r := 0
		if msg.Retain {
			r = 1
		}
		return m.fixed[msg.QoS][r]
	}
	ts := m.targets(msg, publisher)
	for _, g := range m.groups {
		if s := g.pickDurable(msg.QoS); s != nil {
			ts = append(ts, s.target(msg))
		}
	}
	return ts
}

func (m *match) targets(msg *message.Message, publisher string) []message.Target {
	var ts []message.Target
	for i := range m.subs {
		s := &m.subs[i]
		if s.s.durable(min(msg.QoS, s.qos)) && !s.excludes(publisher) {
			ts = append(ts, s.target(msg))
		}
	}
	return ts
}

// live hands msg to the sessions that take it from memory; msg.Sessions, set
// before, says which shared subscriptions have had their turn.
func (m *match) live(msg *message.Message, publisher string) {
	for i := range m.subs {
		s := &m.subs[i]
		if !s.s.durable(min(msg.QoS, s.qos)) && !s.excludes(publisher) {
			s.push(msg)
		}
	}
	for _, g := range m.groups {
		if g.served(msg.Sessions) {
			continue
		}
		if s := g.pickLive(); s != nil {
			s.push(msg)
		}
	}
}

func (s *subscriber) push(msg *message.Message) {
	s.s.push(out{msg: msg, qos: min(msg.QoS, s.qos), retain: msg.Retain && s.rap, ids: s.ids})
}

func (s *subscriber) excludes(publisher string) bool {
	return s.noLocal && publisher != "" && publisher == s.s.id // MQTT-3.8.3-3
}

// pickDurable picks the member whose queue takes a message of this QoS: a
// connected one in turn, else one that will come back. It gives nil when the
// next connected member takes from memory.
func (g *shareGroup) pickDurable(qos byte) *subscriber {
	n := uint32(len(g.members))
	start := g.next.Add(1)
	var waiting *subscriber
	for i := range n {
		s := &g.members[(start+i)%n]
		durable := s.s.durable(min(qos, s.qos))
		if s.s.connected() {
			if durable {
				return s
			}
			return nil
		}
		if durable && waiting == nil {
			waiting = s
		}
	}
	return waiting
}

// pickLive picks the connected member whose turn it is.
func (g *shareGroup) pickLive() *subscriber {
	n := uint32(len(g.members))
	start := g.next.Load()
	for i := range n {
		if s := &g.members[(start+i)%n]; s.s.connected() {
			return s
		}
	}
	return nil
}

// served says whether one of the targets is a member's queue.
func (g *shareGroup) served(ts []message.Target) bool {
	for i := range ts {
		for j := range g.members {
			if ts[i].Queue == g.members[j].s.queueName() {
				return true
			}
		}
	}
	return false
}

// A session target's Meta tells its writer how to send: QoS and RETAIN in the
// first byte, then the encoded subscription identifiers.
const metaRetain = 1 << 2

func (s *subscriber) target(msg *message.Message) message.Target {
	return message.Target{
		Queue: s.s.queueName(), Rule: sessionRule, Expires: msg.Expires,
		Meta: appendMeta(nil, min(msg.QoS, s.qos), msg.Retain && s.rap, s.ids),
	}
}

func appendMeta(dst []byte, qos byte, retain bool, ids []byte) []byte {
	first := qos
	if retain {
		first |= metaRetain
	}
	return append(append(dst, first), ids...)
}

// parseMeta undoes appendMeta; an empty Meta is QoS 1 without more.
func parseMeta(meta []byte) (qos byte, retain bool, ids []byte) {
	if len(meta) == 0 {
		return 1, false, nil
	}
	return meta[0] & 3, meta[0]&metaRetain != 0, meta[1:]
}
