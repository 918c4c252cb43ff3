package broker

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/message"
)

const bucketRetained = "mqtt-retained"

// retained keeps the last message of each topic that asked for it. The record
// is part of the message's own commit. The map has it from the moment the
// message is distributed; if the commit fails, what was there before is back.
type retained struct {
	b     *Broker
	mu    sync.RWMutex
	list  map[string]*keptMessage
	swept time.Time
}

// keptMessage is one retained message, or the wish to have none.
type keptMessage struct {
	topic  string
	msg    *message.Message // nil: deletes
	record message.Record
	index  int32        // in its run
	prev   *keptMessage // what it replaced, until it is durable
	done   bool         // durable
}

func (r *retained) init(b *Broker) { r.b, r.list = b, make(map[string]*keptMessage) }

func (r *retained) restore() error {
	return r.b.records.Records(bucketRetained, func(topic string, value []byte) error {
		m, err := message.Decode(bytes.Clone(value))
		if err != nil {
			return fmt.Errorf("retained message of %q: %w", topic, err)
		}
		r.list[topic] = &keptMessage{topic: topic, msg: &m, done: true, record: message.Record{Bucket: bucketRetained, Key: topic}}
		return nil
	})
}

// full says whether a further topic would exceed the limit.
func (r *retained) full(topic string) bool {
	r.mu.RLock()
	full := len(r.list) >= r.b.cfg.MaxRetained && r.list[topic] == nil
	r.mu.RUnlock()
	return full && !r.sweep()
}

// sweep makes room by forgetting expired messages, at most once a second.
func (r *retained) sweep() (room bool) {
	now := time.Now()
	var gone []message.Record
	r.mu.Lock()
	if now.Sub(r.swept) > time.Second {
		r.swept = now
		for topic, k := range r.list {
			if k.done && k.msg != nil && k.msg.Expires > 0 && k.msg.Expires <= now.UnixMilli() {
				delete(r.list, topic)
				gone = append(gone, message.Record{Bucket: bucketRetained, Key: topic})
			}
		}
	}
	room = len(r.list) < r.b.cfg.MaxRetained
	r.mu.Unlock()
	if len(gone) > 0 {
		r.b.put(nil, gone...)
	}
	return room
}

// apply makes m its topic's retained message; an empty body deletes
// (MQTT-3.3.1-6). The copy has memory of its own: a batch's must not live as long.
func (r *retained) apply(m *message.Message, index int32) *keptMessage {
	k := &keptMessage{topic: strings.Clone(m.Topic), index: index}
	k.record = message.Record{Bucket: bucketRetained, Key: k.topic}
	if len(m.Body) > 0 {
		k.record.Value = message.Append(nil, m)
		own, err := message.Decode(k.record.Value)
		if err != nil { // our own encoding reads back
			own = *m
		}
		k.msg = &own
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k.prev = r.list[k.topic]
	r.list[k.topic] = k
	return k
}

// settle ends the wait of k, whose message is part of a run.
func (r *retained) settle(k *keptMessage, errs []error) {
	if errs == nil || errs[k.index] == nil {
		r.confirm(k)
		return
	}
	r.revert(k)
}

// confirm: commits decide the order, as they do on disk.
func (r *retained) confirm(k *keptMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k.done, k.prev = true, nil
	k.record.Value = nil // the map need not hold it twice
	now := r.list[k.topic]
	if now == nil || now.done && now != k {
		r.list[k.topic], now = k, k
	}
	if now == k && k.msg == nil {
		delete(r.list, k.topic)
	}
}

// revert takes k back: what it replaced holds again, unless something newer does.
func (r *retained) revert(k *keptMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.list[k.topic]
	if p != k {
		for p != nil && p.prev != k {
			p = p.prev
		}
		if p != nil {
			p.prev = k.prev
		}
		return
	}
	if q := k.prev; q == nil || q.done && q.msg == nil {
		delete(r.list, k.topic)
	} else {
		r.list[k.topic] = q
	}
}

// send gives a new subscription the retained messages it asks for (3.8.3.1).
func (r *retained) send(c *conn, f packets.Subscription, existed bool) {
	if strings.HasPrefix(f.Filter, "$share/") || f.RetainHandling == 2 || f.RetainHandling == 1 && existed {
		return
	}
	found := r.match(f.Filter)
	if len(found) == 0 {
		return
	}
	s := c.session
	sub := subscriber{s: s, qos: f.Qos, rap: true}
	if f.Identifier > 0 {
		sub.ids = wire.AppendVarintProp(nil, wire.PropSubscriptionID, f.Identifier)
	}
	var queued run
	for _, m := range found {
		if qos := min(m.QoS, f.Qos); !s.durable(qos) {
			s.push(out{msg: m, qos: qos, retain: true, own: true, ids: sub.ids})
			continue
		}
		own := *m
		own.Sessions = []message.Target{sub.target(m)}
		queued.Messages = append(queued.Messages, own)
	}
	if len(queued.Messages) == 0 {
		return
	}
	queued.Local = true
	queued.Done = func(_ *message.Batch, errs []error) {
		for _, err := range errs {
			if err != nil {
				r.b.log.Error("retained message not queued", "client", s.id, "err", err)
			}
		}
	}
	r.b.accept.Accept(&queued.Batch)
}

func (r *retained) match(filter string) (found []*message.Message) {
	now := time.Now().UnixMilli()
	add := func(k *keptMessage) {
		if k != nil && k.msg != nil && (k.msg.Expires == 0 || k.msg.Expires > now) {
			found = append(found, k.msg)
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if !strings.ContainsAny(filter, "+#") {
		add(r.list[filter])
		return found
	}
	for topic, k := range r.list {
		if matchesFilter(filter, topic) {
			add(k)
		}
	}
	return found
}
