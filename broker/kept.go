package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"

	"github.com/penstock-io/penstock/message"
)

const bucketSessions = "mqtt-sessions"

// sessionRecord is what survives the process, as JSON under the client id.
type sessionRecord struct {
	Version byte           `json:"version"`
	Owner   string         `json:"owner"` // the identity the session belongs to
	Expiry  uint32         `json:"expiry_seconds"`
	Life    uint32         `json:"life"`
	Filters []filterRecord `json:"subscriptions,omitempty"`
}

// filterRecord is one subscription: the topic filter and its options (3.8.3.1).
type filterRecord struct {
	Filter            string `json:"filter"`
	ID                int    `json:"id,omitempty"`
	QoS               byte   `json:"qos"`
	RetainHandling    byte   `json:"retain_handling,omitempty"`
	NoLocal           bool   `json:"no_local,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
}

// keep writes the record of a persistent session and waits until it is durable.
func (x *sessions) keep(s *session) error {
	value := x.encode(s)
	if value == nil {
		return nil
	}
	stored := make(chan error, 1)
	x.b.put(func(err error) { stored <- err }, message.Record{Bucket: bucketSessions, Key: s.id, Value: value})
	return <-stored
}

// rewrite is keep without the wait.
func (x *sessions) rewrite(s *session) {
	if value := x.encode(s); value != nil {
		x.b.put(nil, message.Record{Bucket: bucketSessions, Key: s.id, Value: value})
	}
}

// encode returns the session's record, or nil when there is nothing to write.
func (x *sessions) encode(s *session) []byte {
	if x.b.records == nil || !s.persistent {
		return nil
	}
	cl, ok := x.b.server.Clients.Get(s.id)
	if !ok {
		return nil
	}
	filters := filtersOf(cl)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.list[s.id] != s {
		return nil // it has ended
	}
	value, err := json.Marshal(sessionRecord{Version: s.version, Owner: s.owner, Expiry: s.expiry, Life: s.life, Filters: filters})
	if err != nil || bytes.Equal(value, s.stored) { // a struct of plain fields always encodes
		return nil
	}
	s.stored = value
	return value
}

func filtersOf(cl *mqtt.Client) []filterRecord {
	all := cl.State.Subscriptions.GetAll()
	filters := make([]filterRecord, 0, len(all))
	for _, p := range all {
		filters = append(filters, filterRecord{
			Filter: p.Filter, ID: p.Identifier, QoS: p.Qos,
			RetainHandling: p.RetainHandling, NoLocal: p.NoLocal, RetainAsPublished: p.RetainAsPublished,
		})
	}
	slices.SortFunc(filters, func(a, b filterRecord) int { return strings.Compare(a.Filter, b.Filter) })
	return filters
}

// dropSession deletes what the store keeps of a session. The queue's content is
// counted as dropped by the store.
func (b *Broker) dropSession(id string) {
	if b.queues == nil {
		return
	}
	if err := b.queues.Drop(queuePrefix + id); err != nil {
		b.log.Error("drop session queue", "client", id, "err", err)
	}
	gone := []message.Record{{Bucket: bucketSessions, Key: id}}
	for _, bucket := range []string{bucketReceived, bucketRelease} {
		err := b.records.Records(bucket, func(key string, _ []byte) error {
			if client, _, _, ok := parsePacketKey(key); ok && client == id {
				gone = append(gone, message.Record{Bucket: bucket, Key: key})
			}
			return nil
		})
		if err != nil { // they belong to this life of the session and harm no other
			b.log.Error("look up packet ids of a session", "client", id, "err", err)
		}
	}
	b.put(nil, gone...)
}

// restore reads the kept sessions; mochi asks for them when it starts to serve.
func (x *sessions) restore() error {
	var over []string
	err := x.b.records.Records(bucketSessions, func(id string, value []byte) error {
		k := new(sessionRecord)
		if err := json.Unmarshal(value, k); err != nil {
			return fmt.Errorf("session record %q is damaged: %w", id, err)
		}
		if k.Expiry == 0 { // it ended with the process
			over = append(over, id)
			return nil
		}
		s := newSession(x.b, id, true)
		q, err := x.b.queues.Queue(s.queueName())
		if err != nil {
			return fmt.Errorf("open session queue %q: %w", id, err)
		}
		s.queue, s.life, s.stored = q, k.Life, bytes.Clone(value)
		s.owner, s.version, s.expiry = k.Owner, k.Version, k.Expiry
		x.list[id] = s
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range over {
		x.b.dropSession(id)
	}
	if err := x.dropOrphans(); err != nil {
		return err
	}
	return x.restoreIDs()
}

// dropOrphans deletes queues without a session: a message that was on its way
// when its session ended has made them anew.
func (x *sessions) dropOrphans() error {
	for _, name := range x.b.queues.Queues() {
		id, is := strings.CutPrefix(name, queuePrefix)
		if !is || x.list[id] != nil {
			continue
		}
		if err := x.b.queues.Drop(name); err != nil {
			return fmt.Errorf("drop queue %q, which has no session: %w", name, err)
		}
	}
	return nil
}

func (x *sessions) restoreIDs() error {
	for bucket, add := range map[string]func(s *session, id uint16){
		bucketReceived: func(s *session, id uint16) { s.received[id] = true },
		bucketRelease:  func(s *session, id uint16) { s.release[id] = release{safe: true} },
	} {
		err := x.b.records.Records(bucket, func(key string, _ []byte) error {
			client, life, id, ok := parsePacketKey(key)
			if s := x.list[client]; ok && s != nil && s.life == life {
				add(s, id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// restored returns the kept sessions in mochi's terms.
func (x *sessions) restored() (clients []storage.Client, subs []storage.Subscription, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for id, s := range x.list {
		k := new(sessionRecord)
		if err := json.Unmarshal(s.stored, k); err != nil {
			return nil, nil, fmt.Errorf("session record %q is damaged: %w", id, err)
		}
		clients = append(clients, storage.Client{ID: id, ProtocolVersion: k.Version, Properties: storage.ClientProperties{
			SessionExpiryInterval: mochiExpiry(k.Expiry), SessionExpiryIntervalFlag: true,
		}})
		for _, f := range k.Filters {
			subs = append(subs, storage.Subscription{
				Client: id, Filter: f.Filter, Qos: f.QoS, Identifier: f.ID, NoLocal: f.NoLocal,
				RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
			})
		}
	}
	return clients, subs, nil
}
