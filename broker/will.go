package broker

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/message"
)

const bucketWills = "mqtt-wills"

// wills keeps the last words of connected clients and of those whose will is
// delayed. They are durable: a client that vanished because the hub was killed
// has its will published when the hub is back, unless the client is back first.
type wills struct {
	b       *Broker
	mu      sync.Mutex
	list    map[string]*will
	stopped bool
}

type will struct {
	Message []byte `json:"message"` // message.Append
	Delay   int64  `json:"delay_seconds"`
	timer   *time.Timer
}

func (x *wills) init(b *Broker) { x.b, x.list = b, make(map[string]*will) }

func (x *wills) restore() error {
	return x.b.records.Records(bucketWills, func(id string, value []byte) error {
		w := new(will)
		if err := json.Unmarshal(value, w); err != nil {
			return fmt.Errorf("will of %q is damaged: %w", id, err)
		}
		x.list[id] = w
		return nil
	})
}

// resume starts the delays of wills left from an earlier run. They count from
// now: how long the hub was down says nothing about the clients.
func (x *wills) resume() {
	x.mu.Lock()
	ids := make([]string, 0, len(x.list))
	for id, w := range x.list {
		if w.timer == nil {
			ids = append(ids, id)
		}
	}
	x.mu.Unlock()
	for _, id := range ids {
		x.due(id, false)
	}
}

// set replaces what is kept for a client by the will of its new connection, if any.
func (x *wills) set(c *conn) {
	x.cancel(c.clientID)
	if c.will == nil {
		return
	}
	delay := min(int64(c.connect.Will.Delay), int64(c.connect.SessionExpiry)) // 3.1.3.2.2: not after the session's end
	kept := &will{Message: message.Append(nil, c.will), Delay: delay}
	x.mu.Lock()
	x.list[c.clientID] = kept
	x.mu.Unlock()
	if value, err := json.Marshal(kept); err == nil {
		x.b.put(nil, message.Record{Bucket: bucketWills, Key: c.clientID, Value: value})
	}
}

// willMessage makes the message of a will, or says why it may not be published.
// In the dialect it is telemetry marked as a will (contract 2.1).
func (c *conn) willMessage(w *wire.Will) (*message.Message, byte) {
	m := &message.Message{QoS: w.QoS, Retain: w.Retain, Body: w.Payload}
	setProperties(m, &w.Properties, 0)
	code := c.address(m, w.Topic)
	if m.Kind == message.Telemetry {
		m.System = append(m.System, message.Property{Name: message.SysMessageType, Value: "Will"})
	}
	return m, code
}

// cancel forgets a client's will: it said goodbye, or is back.
func (x *wills) cancel(id string) {
	x.mu.Lock()
	w := x.list[id]
	delete(x.list, id)
	if w != nil && w.timer != nil {
		w.timer.Stop()
	}
	x.mu.Unlock()
	if w != nil {
		x.b.put(nil, message.Record{Bucket: bucketWills, Key: id})
	}
}

// due publishes a client's will after its delay, or now if the session ended
// with the connection.
func (x *wills) due(id string, sessionOver bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.list[id]
	if w == nil || x.stopped || x.b.stopping() {
		return // a hub that stops leaves the will to its next run
	}
	delay := time.Duration(w.Delay) * time.Second
	if sessionOver {
		delay = 0
	}
	w.timer = time.AfterFunc(delay, func() { x.publish(id, w) })
}

// sessionEnded publishes a delayed will whose session ends before the delay.
func (x *wills) sessionEnded(id string) {
	x.mu.Lock()
	w := x.list[id]
	waits := w != nil && w.timer != nil && w.timer.Stop()
	x.mu.Unlock()
	if waits {
		x.publish(id, w)
	}
}

func (x *wills) publish(id string, w *will) {
	x.mu.Lock()
	if x.list[id] != w || x.stopped {
		x.mu.Unlock()
		return
	}
	delete(x.list, id)
	x.mu.Unlock()
	m, err := message.Decode(w.Message)
	if err != nil {
		x.b.log.Error("will is damaged", "client", id, "err", err)
		return
	}
	m.Accepted = time.Now().UnixMilli()
	if m.Expires > 0 {
		m.Expires += m.Accepted // kept as an interval until it is published
	}
	x.b.publish(&m, false, func(err error) {
		if err != nil {
			x.b.log.Error("will not stored", "client", id, "err", err)
			return
		}
		x.b.put(nil, message.Record{Bucket: bucketWills, Key: id})
	})
}

// stop ends the timers; what has not been published stays on disk.
func (x *wills) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = true
	for _, w := range x.list {
		if w.timer != nil {
			w.timer.Stop()
		}
	}
}
