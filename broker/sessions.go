package broker

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
)

const takeoverTimeout = 10 * time.Second

// sessions are the client ids the broker knows. mochi keeps its own list of
// clients with their subscriptions; this one keeps who is connected, what is
// under way, and the records of persistent sessions.
//
// Whoever holds a client id, a connection or the end of a session, is alone
// with its session until it lets go.
type sessions struct {
	b       *Broker
	mu      sync.RWMutex
	list    map[string]*session
	holders map[string]holder
	stopped bool
}

type holder struct {
	c    *conn         // nil: the session is being ended
	done chan struct{} // closed when the id is free
}

func (x *sessions) init(b *Broker) {
	x.b, x.list, x.holders = b, make(map[string]*session), make(map[string]holder)
}

func (x *sessions) get(id string) *session {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.list[id]
}

// connections returns those that hold a client id: all that were let in.
func (x *sessions) connections() (all []*conn) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, h := range x.holders {
		if h.c != nil {
			all = append(all, h.c)
		}
	}
	return all
}

var (
	faultFull    = &wire.Fault{Code: wire.QuotaExceeded, Connack: wire.ConnackUnavailable, Clause: "4.8", Reason: "no room for another session"}
	faultForeign = &wire.Fault{Code: wire.InvalidClientID, Connack: wire.ConnackClientID, Clause: "3.1.3.1", Reason: "the client id belongs to another identity"}
	faultTaken   = &wire.Fault{Code: wire.ServerBusy, Connack: wire.ConnackUnavailable, Clause: "MQTT-3.1.4-3", Reason: "the connection that uses the client id does not end"}
)

// claim makes c the only connection of its client id: an older one is told that
// its session was taken over (MQTT-3.1.4-3) and has let go of it before c's
// CONNECT reaches mochi, whose own takeover races with the end of the old
// connection. An identity can neither end nor resume what belongs to another one
// by guessing a client id.
func (x *sessions) claim(c *conn) *wire.Fault {
	deadline := time.NewTimer(takeoverTimeout)
	defer deadline.Stop()
	for {
		old, refused := x.hold(c)
		switch {
		case refused != nil:
			return refused
		case old.done == nil:
			return nil
		case old.c != nil:
			old.c.disconnect(wire.SessionTakenOver, "another connection uses the client id")
		}
		select {
		case <-old.done:
		case <-deadline.C:
			return faultTaken
		}
	}
}

// hold makes c the holder of its client id unless somebody is, or c is refused.
func (x *sessions) hold(c *conn) (old holder, refused *wire.Fault) {
	x.mu.Lock()
	defer x.mu.Unlock()
	me := owner(c.principal)
	old = x.holders[c.clientID]
	if old.c != nil && owner(old.c.principal) != me {
		return old, faultForeign
	}
	s := x.list[c.clientID]
	if s != nil && s.owner != me {
		return old, faultForeign
	}
	if s == nil && len(x.list) >= x.b.cfg.MaxSessions {
		return old, faultFull
	}
	if old.done == nil {
		x.holders[c.clientID] = holder{c: c, done: c.done}
	}
	return old, nil
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
	s := x.get(c.clientID)
	if s != nil && (clean || !s.persistent) {
		x.b.wills.sessionEnded(c.clientID)
		x.end(c.clientID)
		x.forget(c.clientID)
		s = nil
	}
	c.resumed = s != nil
	if s == nil {
		var err error
		if s, err = x.create(c.clientID, persistent); err != nil {
			return err
		}
	}
	x.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.owner, s.version, s.expiry = owner(c.principal), c.version, c.connect.SessionExpiry
	x.list[c.clientID] = s
	x.mu.Unlock()
	c.session = s
	return nil
}

func (x *sessions) create(id string, persistent bool) (*session, error) {
	s := newSession(x.b, id, persistent)
	if !persistent || x.b.queues == nil {
		return s, nil
	}
	var life [4]byte
	_, _ = rand.Read(life[:]) // never fails
	s.life = binary.BigEndian.Uint32(life[:])
	// A message that was on its way when an earlier session ended may have made
	// its queue anew.
	if err := x.b.queues.Drop(s.queueName()); err != nil {
		return nil, fmt.Errorf("empty session queue: %w", err)
	}
	q, err := x.b.queues.Queue(s.queueName())
	if err != nil {
		return nil, fmt.Errorf("open session queue: %w", err)
	}
	s.queue = q
	return s, nil
}

// release gives up what c holds when it is over.
func (x *sessions) release(c *conn) {
	if c.session != nil && !c.ended { // mochi stopped before the session was whole, or panicked
		x.over(c, errors.New("connection failed"))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.holders[c.clientID].c == c {
		delete(x.holders, c.clientID)
	}
}

// over ends c's part in its session; err is nil after a farewell that takes the
// will along.
func (x *sessions) over(c *conn, err error) {
	c.ended = true
	s, expire := c.session, c.connect.SessionExpiry == 0
	s.detach(c)
	if c.counted {
		x.b.stats.Connections.Add(-1)
		if err == nil {
			x.b.wills.cancel(c.clientID)
		} else {
			x.b.wills.due(c.clientID, expire)
		}
	}
	if expire {
		x.end(c.clientID)
		x.forget(c.clientID)
		return
	}
	x.mu.Lock()
	s.expiry = c.connect.SessionExpiry // DISCONNECT may have changed it (3.14.2.2.2)
	x.mu.Unlock()
	x.rewrite(s)
	x.countdown(s)
}

// countdown lets a session without a connection live for its expiry interval.
func (x *sessions) countdown(s *session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.stopped {
		s.timer = time.AfterFunc(time.Duration(s.expiry)*time.Second, func() { x.expire(s) })
	}
}

// expire ends a session nobody came back to. It holds the client id meanwhile: a
// client that connects at this moment waits and gets a new session.
func (x *sessions) expire(s *session) {
	h := holder{done: make(chan struct{})}
	x.mu.Lock()
	_, held := x.holders[s.id]
	if held || x.stopped || x.list[s.id] != s {
		x.mu.Unlock()
		return
	}
	x.holders[s.id] = h
	x.mu.Unlock()
	x.b.wills.sessionEnded(s.id)
	x.end(s.id)
	x.forget(s.id)
	x.mu.Lock()
	delete(x.holders, s.id)
	x.mu.Unlock()
	close(h.done)
}

// end removes the session of a client id that has no future, with what is
// stored of it.
func (x *sessions) end(id string) {
	x.mu.Lock()
	s := x.list[id]
	delete(x.list, id)
	x.mu.Unlock()
	if s == nil {
		return
	}
	x.b.matches.changed()
	if s.persistent {
		x.b.dropSession(id)
	}
}

// forget makes mochi forget a client and its subscriptions.
func (x *sessions) forget(id string) {
	if cl, ok := x.b.server.Clients.Get(id); ok {
		x.b.server.UnsubscribeClient(cl)
		x.b.server.Clients.Delete(id)
	}
}

// resume starts the countdown of restored sessions. It counts from now: how long
// the hub was down says nothing about the clients.
func (x *sessions) resume() {
	x.mu.RLock()
	var idle []*session
	for id, s := range x.list {
		if _, held := x.holders[id]; !held && s.timer == nil {
			idle = append(idle, s)
		}
	}
	x.mu.RUnlock()
	for _, s := range idle {
		x.countdown(s)
	}
}

// stop ends the countdowns.
func (x *sessions) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = true
	for _, s := range x.list {
		if s.timer != nil {
			s.timer.Stop()
		}
	}
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
