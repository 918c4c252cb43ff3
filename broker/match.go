package broker

import (
	"maps"
	"math/rand/v2"
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
	deep deepFilters
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
	x.list[strings.Clone(topic)] = m
	x.mu.Unlock()
	return m
}

func (x *matches) build(topic string, gen uint64) *match {
	m := &match{gen: gen}
	found := x.b.server.Topics.Subscribers(topic)
	x.deep.match(topic, found)
	for id, s := range found.Subscriptions {
		if ses := x.b.sessions.get(id); ses != nil {
			s.NoLocal = s.NoLocal && x.allNoLocal(id, topic)
			m.subs = append(m.subs, newSubscriber(ses, s))
		}
	}
	for _, filter := range slices.Sorted(maps.Keys(found.Shared)) {
		if !matchesFilter(unshare(filter), topic) {
			continue // mochi lets $share/g/# reach topics that begin with $ (MQTT-4.7.2-1)
		}
		var members []subscriber
		for id, s := range found.Shared[filter] {
			if ses := x.b.sessions.get(id); ses != nil {
				members = append(members, newSubscriber(ses, s))
			}
		}
		if len(members) > 0 {
			slices.SortFunc(members, func(a, b subscriber) int { return strings.Compare(a.s.id, b.s.id) })
			g := &shareGroup{members: members}
			g.next.Store(rand.Uint32()) // no member is first after every change of a subscription
			m.groups = append(m.groups, g)
		}
	}
	m.prepare()
	return m
}

// allNoLocal says whether every subscription of the client that matches has No
// Local; mochi merges them as if one were enough (3.8.3.1).
func (x *matches) allNoLocal(id, topic string) bool {
	cl, ok := x.b.server.Clients.Get(id)
	if !ok {
		return true
	}
	for filter, s := range cl.State.Subscriptions.GetAll() {
		if !s.NoLocal && unshare(filter) == filter && matchesFilter(filter, topic) {
			return false
		}
	}
	return true
}

// match is the answer for one topic.
type match struct {
	gen    uint64
	subs   []subscriber
	groups []*shareGroup
	plain  bool                   // no groups, no No Local: fixed and live are always right
	fixed  [3][2][]message.Target // by QoS and RETAIN
	live   [3][]*subscriber       // by QoS
}

// subscriber is one session's merged subscriptions to a topic.
type subscriber struct {
	s       *session
	qos     byte
	rap     bool
	noLocal bool
	ids     []byte // encoded subscription identifier properties
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

// prepare computes the common case once.
func (m *match) prepare() {
	m.plain = len(m.groups) == 0 && !slices.ContainsFunc(m.subs, func(s subscriber) bool { return s.noLocal })
	if !m.plain {
		return
	}
	for qos := range byte(3) {
		for r := range 2 {
			m.fixed[qos][r], m.live[qos] = m.work(&message.Message{QoS: qos, Retain: r == 1}, "")
		}
	}
}

// split says who gets msg: the session queues, shared subscriptions included, and
// the subscribers that take it from memory. The slices may be shared with other
// messages.
func (m *match) split(msg *message.Message, publisher string) ([]message.Target, []*subscriber) {
	if !m.plain || msg.Expires != 0 {
		return m.work(msg, publisher)
	}
	r := 0
	if msg.Retain {
		r = 1
	}
	return m.fixed[msg.QoS][r], m.live[msg.QoS]
}

func (m *match) work(msg *message.Message, publisher string) (ts []message.Target, live []*subscriber) {
	add := func(s *subscriber) {
		if s.s.durable(min(msg.QoS, s.qos)) {
			ts = append(ts, s.target(msg))
			return
		}
		live = append(live, s)
	}
	for i := range m.subs {
		if s := &m.subs[i]; !s.excludes(publisher) {
			add(s)
		}
	}
	for _, g := range m.groups {
		if s := g.pick(msg.QoS); s != nil {
			add(s)
		}
	}
	return ts, live
}

func (s *subscriber) push(msg *message.Message) {
	s.s.push(out{msg: msg, qos: min(msg.QoS, s.qos), retain: msg.Retain && s.rap, ids: s.ids})
}

func (s *subscriber) excludes(publisher string) bool {
	return s.noLocal && publisher != "" && publisher == s.s.id // MQTT-3.8.3-3
}

// shareGroup is a shared subscription; its members take turns.
type shareGroup struct {
	members []subscriber
	next    atomic.Uint32
}

// pick returns the connected member whose turn it is, else one that will come
// back for it, else nil.
func (g *shareGroup) pick(qos byte) (waiting *subscriber) {
	n := uint32(len(g.members))
	start := g.next.Add(1)
	for i := range n {
		s := &g.members[(start+i)%n]
		if s.s.connected() {
			return s
		}
		if waiting == nil && s.s.persistent && min(qos, s.qos) > 0 {
			waiting = s
		}
	}
	return waiting
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
