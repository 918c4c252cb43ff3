package broker

import (
	"time"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/message"
)

// appendOut encodes one PUBLISH; false means it is larger than the client takes.
func (c *conn) appendOut(buf []byte, o *out, id uint16, dup bool) ([]byte, bool) {
	w := wire.Outgoing{
		Version: c.version, QoS: o.qos, Dup: dup && o.qos > 0, Retain: o.retain,
		ID: id, Topic: o.topic, Payload: o.msg.Body,
	}
	if w.Topic == "" {
		w.Topic = o.msg.Topic
	}
	if c.version == 5 {
		c.out.props = appendProperties(c.out.props[:0], o.msg)
		c.out.own = append(c.out.own[:0], o.ids...)
		w.Shared, w.Own = c.out.props, c.out.own
		c.alias(&w)
	}
	if !w.Fits(c.maxPacket()) {
		return buf, false
	}
	c.b.stats.Delivered.Add(1)
	return w.Append(buf), true
}

// alias replaces a topic the client has an alias for, or gives it one.
func (c *conn) alias(w *wire.Outgoing) {
	if c.out.max == 0 {
		return
	}
	n, known := c.out.aliases[w.Topic]
	if !known {
		if len(c.out.aliases) >= int(c.out.max) {
			return
		}
		n = uint16(len(c.out.aliases) + 1)
	}
	c.out.own = wire.AppendU16Prop(c.out.own, wire.PropTopicAlias, n)
	w.Own = c.out.own
	switch {
	case known:
		w.Topic = ""
	case w.Fits(c.maxPacket()): // an alias nobody received must not be used
		c.out.aliases[w.Topic] = n
	}
}

// appendProperties encodes what MQTT 5 carries of a message.
func appendProperties(dst []byte, m *message.Message) []byte {
	if m.Expires > 0 {
		left := max(0, m.Expires-time.Now().UnixMilli())
		dst = wire.AppendU32Prop(dst, wire.PropMessageExpiry, uint32((left+999)/1000)) // MQTT-3.3.2-6
	}
	for _, p := range m.System {
		switch p.Name {
		case message.SysContentType:
			dst = wire.AppendTextProp(dst, wire.PropContentType, p.Value)
		case message.SysResponseTopic:
			dst = wire.AppendTextProp(dst, wire.PropResponseTopic, p.Value)
		case message.SysCorrelationData:
			dst = wire.AppendTextProp(dst, wire.PropCorrelationData, p.Value)
		case message.SysPayloadFormat:
			dst = wire.AppendByteProp(dst, wire.PropPayloadFormat, p.Value[0]-'0')
		}
	}
	for _, p := range m.Properties {
		dst = wire.AppendUserProp(dst, p.Name, p.Value)
	}
	return dst
}

// Deliver sends m on topic, QoS 1, to the one client called clientID, if it is
// connected and has the subscription filter or one that is equal to it. done is
// called once: nil when the client has acknowledged, ErrNoSubscriber,
// ErrDisconnected, ErrRefused or ErrTooLarge otherwise. It must not block.
func (b *Broker) Deliver(clientID, topic string, filters []string, m *message.Message, done func(error)) {
	s := b.sessions.get(clientID)
	qos, ok := byte(0), false
	if s != nil && s.connected() {
		qos, ok = b.sessions.subscribed(clientID, filters)
	}
	if !ok {
		done(ErrNoSubscriber)
		return
	}
	if !s.push(out{msg: m, topic: topic, qos: min(qos, 1), done: done}) {
		done(ErrDisconnected)
	}
}
