package broker

import (
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
// is part of the message's own commit; the map follows after it.
type retained struct {
	b    *Broker
	mu   sync.RWMutex
	list map[string]*message.Message
}

func (r *retained) init(b *Broker) { r.b, r.list = b, make(map[string]*message.Message) }

func (r *retained) restore() error {
	return r.b.records.Records(bucketRetained, func(topic string, value []byte) error {
		m, err := message.Decode(append([]byte(nil), value...))
		if err != nil {
			return fmt.Errorf("retained message of %q: %w", topic, err)
		}
		r.list[topic] = &m
		return nil
	})
}

// record is the durable form of keeping m; an empty body deletes (MQTT-3.3.1-6).
func (r *retained) record(m *message.Message) message.Record {
	rec := message.Record{Bucket: bucketRetained, Key: m.Topic}
	if len(m.Body) > 0 {
		rec.Value = message.Append(nil, m)
	}
	return rec
}

// full says whether a further topic would exceed the limit.
func (r *retained) full(topic string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.list) >= r.b.cfg.MaxRetained && r.list[topic] == nil
}

func (r *retained) apply(m *message.Message) {
	kept := *m
	kept.Sessions = nil
	kept.Body = append([]byte(nil), m.Body...) // its batch's memory must not live as long
	kept.Topic = strings.Clone(m.Topic)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(m.Body) == 0 {
		delete(r.list, m.Topic)
		return
	}
	r.list[kept.Topic] = &kept
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
		if !s.durable(min(m.QoS, f.Qos)) {
			sub.push(m)
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

func (r *retained) match(filter string) []*message.Message {
	now := time.Now().UnixMilli()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found []*message.Message
	for topic, m := range r.candidates(filter) {
		if (m.Expires == 0 || m.Expires > now) && matchesFilter(filter, topic) {
			found = append(found, m)
		}
	}
	return found
}

func (r *retained) candidates(filter string) map[string]*message.Message {
	if strings.ContainsAny(filter, "+#") {
		return r.list
	}
	if m := r.list[filter]; m != nil {
		return map[string]*message.Message{filter: m}
	}
	return nil
}

// matchesFilter applies a topic filter (MQTT 5.0, 4.7).
func matchesFilter(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (filter[0] == '+' || filter[0] == '#') {
		return false // MQTT-4.7.2-1
	}
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, trest, tmore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !fmore && !tmore:
			return true
		case !tmore:
			return frest == "#" // sport/# matches sport
		case !fmore:
			return false
		}
		filter, topic = frest, trest
	}
}
