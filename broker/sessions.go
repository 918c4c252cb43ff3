package broker

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/message"
)

const (
	bucketSessions  = "mqtt-sessions"
	takeoverTimeout = 10 * time.Second
)

// sessions are the client ids the broker knows. mochi keeps its own list of
// clients with their subscriptions; this one keeps who is connected, what is
// under way, and the records of persistent sessions.
type sessions struct {
	b      *Broker
	mu     sync.RWMutex
	list   map[string]*session
	owners map[string]*conn          // client id → the connection that holds it
	kept   map[string]*sessionRecord // persistent sessions
}

// sessionRecord is what survives the process, as JSON under the client id.
type sessionRecord struct {
	Version byte                   `json:"version"`
	Owner   string                 `json:"owner"` // the identity the session belongs to
	Expiry  uint32                 `json:"expiry_seconds"`
	Filters []packets.Subscription `json:"subscriptions"`
}

func (x *sessions) init(b *Broker) {
	x.b = b
	x.list, x.owners, x.kept = make(map[string]*session), make(map[string]*conn), make(map[string]*sessionRecord)
}

func (x *sessions) get(id string) *session {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.list[id]
}

// each calls f for every connected session's connection.
func (x *sessions) each(f func(c *conn)) {
	x.mu.RLock()
	var all []*conn
	for _, c := range x.owners {
		all = append(all, c)
	}
	x.mu.RUnlock()
	for _, c := range all {
		f(c)
	}
}

// claim makes c the only connection of its client id: an older one is told that
// its session was taken over (MQTT-3.1.4-3) and has ended in every respect
// before c's CONNECT reaches mochi, whose own takeover races with the end of the
// old connection.
func (x *sessions) claim(c *conn) bool {
	deadline := time.NewTimer(takeoverTimeout)
	defer deadline.Stop()
	for {
		x.mu.Lock()
		old := x.owners[c.clientID]
		if old == nil {
			x.owners[c.clientID] = c
		}
		x.mu.Unlock()
		if old == nil {
			return true
		}
		old.disconnect(wire.SessionTakenOver)
		select {
		case <-old.done:
		case <-deadline.C:
			return false
		}
	}
}

// release gives up what c holds when it is over.
func (x *sessions) release(c *conn) {
	if s := c.session; s != nil && !c.ended { // mochi stopped before the session was whole, or panicked
		s.detach(c)
		if !s.persistent {
			x.end(c.clientID)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owners[c.clientID] == c {
		delete(x.owners, c.clientID)
	}
}

// owns says whether c's identity may resume the session kept under its client
// id. An identity must not read another's queue by guessing its client id.
func (x *sessions) owns(c *conn) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	k := x.kept[c.clientID]
	return k == nil || k.Owner == owner(c.principal)
}

func owner(p *identity.Principal) string {
	switch {
	case p.Module != "":
		return "module:" + p.Device + "/" + p.Module
	case p.Device != "":
		return "device:" + p.Device
	}
	return "user:" + p.User
}

// establish gives c its session: the kept one, or a new one.
func (x *sessions) establish(c *conn, clean bool) error {
	persistent := c.connect.SessionExpiry > 0
	x.mu.Lock()
	s, k := x.list[c.clientID], x.kept[c.clientID]
	if s != nil && (clean || !s.persistent) {
		delete(x.list, c.clientID)
		delete(x.kept, c.clientID)
		s = nil
	}
	x.mu.Unlock()
	if k != nil && s == nil {
		x.b.dropSession(c.clientID)
	}
	if s == nil {
		s = newSession(x.b, c.clientID, persistent)
		if persistent && x.b.queues != nil {
			q, err := x.b.queues.Queue(s.queueName())
			if err != nil {
				return fmt.Errorf("open session queue: %w", err)
			}
			s.queue = q
		}
	}
	x.mu.Lock()
	x.list[c.clientID] = s
	if persistent {
		if k = x.kept[c.clientID]; k == nil {
			k = &sessionRecord{Owner: owner(c.principal)}
			x.kept[c.clientID] = k
		}
		k.Version, k.Expiry = c.version, c.connect.SessionExpiry
	}
	x.mu.Unlock()
	c.session = s
	return nil
}

// end removes the session of a client id that has neither connection nor future.
func (x *sessions) end(id string) {
	x.mu.Lock()
	s, kept := x.list[id], x.kept[id] != nil
	delete(x.list, id)
	delete(x.kept, id)
	x.mu.Unlock()
	x.b.matches.changed()
	if s != nil && s.queue != nil || kept {
		x.b.dropSession(id)
	}
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
	for _, bucket := range []string{bucketReceive, bucketRelease} {
		_ = b.records.Records(bucket, func(key string, _ []byte) error { // a failed read leaves ids that expire with their session's next end
			if client, _, ok := parsePacketKey(key); ok && client == id {
				gone = append(gone, message.Record{Bucket: bucket, Key: key})
			}
			return nil
		})
	}
	b.put(nil, gone...)
}

// keep writes the record of a persistent session and waits until it is durable.
func (x *sessions) keep(c *conn, cl *mqtt.Client) error {
	x.mu.Lock()
	k := x.kept[c.clientID]
	if k == nil || x.b.records == nil {
		x.mu.Unlock()
		return nil
	}
	k.Filters = k.Filters[:0]
	for _, s := range cl.State.Subscriptions.GetAll() {
		k.Filters = append(k.Filters, s)
	}
	value, err := json.Marshal(k)
	x.mu.Unlock()
	if err != nil {
		return fmt.Errorf("encode session %q: %w", c.clientID, err)
	}
	stored := make(chan error, 1)
	x.b.records.Put(func(err error) { stored <- err }, message.Record{Bucket: bucketSessions, Key: c.clientID, Value: value})
	return <-stored
}

// subscribed says whether a client has one of the filters, and at which QoS.
func (x *sessions) subscribed(id string, filters []string) (byte, bool) {
	cl, ok := x.b.server.Clients.Get(id)
	if !ok {
		return 0, false
	}
	for _, f := range filters {
		if s, ok := cl.State.Subscriptions.Get(f); ok {
			return s.Qos, true
		}
	}
	return 0, false
}

// restore reads the kept sessions; mochi asks for them when it starts to serve.
func (x *sessions) restore() error {
	err := x.b.records.Records(bucketSessions, func(id string, value []byte) error {
		k := new(sessionRecord)
		if err := json.Unmarshal(value, k); err != nil {
			return fmt.Errorf("session record %q is damaged: %w", id, err)
		}
		s := newSession(x.b, id, true)
		q, err := x.b.queues.Queue(s.queueName())
		if err != nil {
			return fmt.Errorf("open session queue %q: %w", id, err)
		}
		s.queue = q
		x.list[id], x.kept[id] = s, k
		return nil
	})
	if err != nil {
		return err
	}
	return x.restoreIDs()
}

func (x *sessions) restoreIDs() error {
	for bucket, add := range map[string]func(s *session, id uint16){
		bucketReceive: func(s *session, id uint16) { s.received[id] = false },
		bucketRelease: func(s *session, id uint16) { s.release[id] = true },
	} {
		err := x.b.records.Records(bucket, func(key string, _ []byte) error {
			client, id, ok := parsePacketKey(key)
			if s := x.list[client]; ok && s != nil {
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

// stored returns the kept sessions in mochi's terms.
func (x *sessions) stored() (clients []storage.Client, subs []storage.Subscription) {
	for id, k := range x.kept {
		clients = append(clients, storage.Client{
			ID: id, ProtocolVersion: k.Version,
			Properties: storage.ClientProperties{SessionExpiryInterval: k.Expiry, SessionExpiryIntervalFlag: k.Version == 5},
		})
		for _, f := range k.Filters {
			subs = append(subs, storage.Subscription{
				Client: id, Filter: f.Filter, Qos: f.Qos, Identifier: f.Identifier, NoLocal: f.NoLocal,
				RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
			})
		}
	}
	return clients, subs
}

// shorten notes the expiry a client's DISCONNECT set (3.14.2.2.2).
func (x *sessions) shorten(c *conn, expiry uint32) {
	x.mu.Lock()
	k := x.kept[c.clientID]
	if k == nil || c.version != 5 || k.Expiry == expiry {
		x.mu.Unlock()
		return
	}
	k.Expiry = expiry
	value, err := json.Marshal(k)
	x.mu.Unlock()
	if err == nil {
		x.b.put(nil, message.Record{Bucket: bucketSessions, Key: c.clientID, Value: value})
	}
}
