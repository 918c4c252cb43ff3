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
// OnClientExpired run on the reading goroutine of the client's connection.
type hook struct {
	mqtt.HookBase
	b *Broker
}

func (h *hook) ID() string { return "penstock" }

func (h *hook) Provides(b byte) bool {
	return bytes.IndexByte([]byte{
		mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished,
		mqtt.OnDisconnect, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnUnsubscribed, mqtt.OnPacketEncode,
		mqtt.OnPacketProcessed, mqtt.OnPublish, mqtt.OnClientExpired, mqtt.StoredClients, mqtt.StoredSubscriptions,
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

// OnConnect takes the will away from mochi, which would publish it past the
// access rules and the Acceptor.
func (h *hook) OnConnect(cl *mqtt.Client, _ packets.Packet) error {
	c := connOf(cl)
	c.clientID = cl.ID
	cl.Properties.Will = mqtt.Will{}
	if granted := uint16(c.keepAlive.Seconds()); granted != c.connect.KeepAlive {
		cl.State.Keepalive, cl.State.ServerKeepalive = granted, true
	}
	return nil
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
		c.disconnect(wire.UnspecifiedError)
	}
}

// OnSessionEstablished comes after CONNACK: messages may flow.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	c := connOf(cl)
	if c.session == nil {
		return
	}
	h.b.stats.Connections.Add(1)
	h.b.wills.set(c)
	if err := h.b.sessions.keep(c, cl); err != nil {
		h.b.log.Error("store session", "client", c.clientID, "err", err)
		c.disconnect(wire.UnspecifiedError)
		return
	}
	c.session.attach(c)
	h.b.matches.changed()
	h.subscribed(c)
}

// OnDisconnect ends the connection's part; err is nil after a DISCONNECT that
// takes the will along.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, expire bool) {
	c := connOf(cl)
	if c == nil || c.session == nil {
		return
	}
	c.ended = true
	h.b.stats.Connections.Add(-1)
	c.session.detach(c)
	h.b.matches.changed()
	if err == nil {
		h.b.wills.cancel(c.clientID)
	} else {
		h.b.wills.due(c.clientID, expire)
	}
	if expire {
		h.b.sessions.end(c.clientID)
		return
	}
	h.b.sessions.shorten(c, cl.Properties.Props.SessionExpiryInterval)
}

func (h *hook) OnClientExpired(cl *mqtt.Client) {
	h.b.server.UnsubscribeClient(cl) // mochi forgets the client and leaves its filters in the tree
	h.b.wills.sessionEnded(cl.ID)
	h.b.sessions.end(cl.ID)
}

func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	c.pending.existed = c.pending.existed[:0]
	for _, f := range pk.Filters {
		_, ok := cl.State.Subscriptions.Get(f.Filter)
		c.pending.existed = append(c.pending.existed, ok)
	}
	return pk
}

// OnSubscribed comes before SUBACK: a persistent session's subscriptions are
// durable when the client learns that it has them.
func (h *hook) OnSubscribed(cl *mqtt.Client, _ packets.Packet, codes []byte) {
	c := connOf(cl)
	c.pending.codes = append(c.pending.codes[:0], codes...)
	h.changed(c, cl)
}

func (h *hook) OnUnsubscribed(cl *mqtt.Client, _ packets.Packet) {
	if c := connOf(cl); c != nil && c.session != nil {
		h.changed(c, cl)
	}
}

func (h *hook) changed(c *conn, cl *mqtt.Client) {
	h.b.matches.changed()
	if err := h.b.sessions.keep(c, cl); err != nil {
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
		if c.pending.codes[i] < wire.UnspecifiedError {
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

// OnPacketEncode completes the CONNACK with limits that mochi does not tell.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Connack && cl.Properties.ProtocolVersion == 5 && pk.ReasonCode == 0 {
		pk.Properties.TopicAliasMaximum = h.b.cfg.TopicAliasMax
		pk.Properties.MaximumPacketSize = uint32(h.b.cfg.MaxPacketSize)
	}
	return pk
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
	clients, _ := h.b.sessions.stored()
	return clients, nil
}

func (h *hook) StoredSubscriptions() ([]storage.Subscription, error) {
	_, subs := h.b.sessions.stored()
	return subs, nil
}
