package broker

import (
	"bytes"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/message"
)

// hook is the broker's ear in mochi. All methods but the Stored… ones and
// OnUnsubscribed run on the reading goroutine of the client's connection.
type hook struct {
	mqtt.HookBase
	b *Broker
}

func (h *hook) ID() string { return "penstock" }

func (h *hook) Provides(b byte) bool {
	return bytes.IndexByte([]byte{
		mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished,
		mqtt.OnDisconnect, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnUnsubscribed, mqtt.OnPacketEncode,
		mqtt.OnPacketProcessed, mqtt.OnPublish, mqtt.StoredClients, mqtt.StoredSubscriptions,
	}, b) >= 0
}

// connOf returns the spliced connection of a client; nil for clients that mochi
// made itself, from stored sessions.
func connOf(cl *mqtt.Client) *conn {
	c, _ := cl.Net.Conn.(*conn)
	return c
}

// pendingSubscribe carries what OnSubscribe saw to what follows the SUBACK.
type pendingSubscribe struct {
	existed []bool
	codes   []byte
}

// OnConnectAuthenticate has nothing to add: the guard was asked before mochi saw
// the packet.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	action := identity.Subscribe
	if write {
		action = identity.Publish
	}
	return connOf(cl).allowed(action, topic)
}

// OnSessionEstablish comes before CONNACK.
func (h *hook) OnSessionEstablish(cl *mqtt.Client, pk packets.Packet) {
	c := connOf(cl)
	if err := h.b.sessions.establish(c, pk.Connect.Clean); err != nil {
		h.b.log.Error("establish session", "client", c.clientID, "err", err)
		c.abort()
	}
}

// OnSessionEstablished comes after CONNACK: messages may flow.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	c := connOf(cl)
	if c.session == nil {
		return
	}
	h.b.stats.Connections.Add(1)
	c.counted = true
	h.b.wills.set(c)
	if err := h.b.sessions.keep(c.session); err != nil {
		h.b.log.Error("store session", "client", c.clientID, "err", err)
		c.disconnect(wire.UnspecifiedError, "the session cannot be stored")
		return
	}
	c.session.attach(c)
	h.b.matches.changed()
	h.subscribed(c)
}

// OnDisconnect ends the connection's part; err is nil after a DISCONNECT that
// takes the will along.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	if c := connOf(cl); c != nil && c.session != nil {
		h.b.sessions.over(c, err)
	}
}

func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	c.pending.existed = c.pending.existed[:0]
	for _, f := range pk.Filters {
		_, ok := cl.State.Subscriptions.Get(f.Filter)
		c.pending.existed = append(c.pending.existed, ok)
	}
	if cl.State.Subscriptions.Len()+len(pk.Filters) > h.b.cfg.MaxSubscriptions {
		c.disconnect(wire.QuotaExceeded, "more subscriptions than a session may have")
		pk.Filters = nil
	}
	return pk
}

// OnSubscribed comes before SUBACK: a persistent session's subscriptions are
// durable when the client learns that it has them.
func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	c := connOf(cl)
	c.pending.codes = append(c.pending.codes[:0], codes...)
	for i, f := range pk.Filters {
		if codes[i] < wire.UnspecifiedError {
			h.b.matches.deep.add(c.clientID, f)
		}
	}
	h.changed(c)
}

func (h *hook) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	for _, f := range pk.Filters {
		h.b.matches.deep.remove(cl.ID, f.Filter)
	}
	h.b.matches.changed()
	if c := connOf(cl); c != nil && c.session != nil {
		h.changed(c)
	}
}

func (h *hook) changed(c *conn) {
	h.b.matches.changed()
	if err := h.b.sessions.keep(c.session); err != nil {
		h.b.log.Error("store subscriptions, connection closed", "client", c.clientID, "err", err)
		c.abort()
	}
}

// OnPacketProcessed sends retained messages once the SUBACK is out.
func (h *hook) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, err error) {
	if pk.FixedHeader.Type != packets.Subscribe || err != nil {
		return
	}
	c := connOf(cl)
	for i, f := range pk.Filters {
		if i < len(c.pending.codes) && c.pending.codes[i] < wire.UnspecifiedError {
			h.b.retained.send(c, f, c.pending.existed[i])
		}
	}
	h.subscribed(c)
}

func (h *hook) subscribed(c *conn) {
	if h.b.cfg.Subscribed != nil {
		h.b.cfg.Subscribed(c.clientID)
	}
}

// OnPacketEncode tells in CONNACK what the broker, not mochi, has decided, and
// does not send a client's user properties back to it.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	if c == nil {
		return pk
	}
	switch pk.FixedHeader.Type {
	case packets.Suback, packets.Unsuback:
		pk.Properties.User = nil
	case packets.Connack:
		pk.SessionPresent = c.resumed
		if c.version == wire.V5 {
			c.terms(&pk.Properties)
		}
	}
	return pk
}

func (c *conn) terms(p *packets.Properties) {
	p.TopicAliasMaximum = c.b.cfg.TopicAliasMax
	p.MaximumPacketSize = uint32(c.b.cfg.MaxPacketSize)
	p.AssignedClientID = ""
	if c.assigned {
		p.AssignedClientID = c.clientID // MQTT-3.2.2-16
	}
	if c.connect.SessionExpiry != c.asked {
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = c.connect.SessionExpiry, true
	}
	if granted := uint16(c.keepAlive.Seconds()); granted != c.connect.KeepAlive {
		p.ServerKeepAlive, p.ServerKeepAliveFlag = granted, true // MQTT-3.1.2-21
	}
}

// OnPublish meets what enters through mochi itself: packets injected by an
// embedding program. ErrRejectPacket means "I answer myself": nothing is
// acknowledged, kept or delivered but through the Acceptor.
func (h *hook) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	m := &message.Message{
		Kind: message.Plain, Topic: pk.TopicName, QoS: pk.FixedHeader.Qos, Retain: pk.FixedHeader.Retain,
		Body: pk.Payload, Accepted: pk.Created * 1000,
	}
	h.b.publish(m, false, func(err error) {
		if err != nil {
			h.b.log.Warn("injected message not stored", "topic", m.Topic, "err", err)
		}
	})
	return pk, packets.ErrRejectPacket
}

func (h *hook) StoredClients() ([]storage.Client, error) {
	clients, _, err := h.b.sessions.restored()
	return clients, err
}

func (h *hook) StoredSubscriptions() ([]storage.Subscription, error) {
	_, subs, err := h.b.sessions.restored()
	for _, s := range subs {
		h.b.matches.deep.add(s.Client, packets.Subscription{
			Filter: s.Filter, Qos: s.Qos, Identifier: s.Identifier, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished,
		})
	}
	return subs, err
}
