package wire

import "bytes"

// Publish is a decoded PUBLISH. Topic, Payload and the properties are views into
// the packet: copy what outlives it.
type Publish struct {
	Topic   []byte // empty only when a topic alias stands for it
	Payload []byte
	Properties
	ID     uint16 // 0 with QoS 0
	QoS    byte
	Dup    bool
	Retain bool
}

// DecodePublish vets a whole PUBLISH packet sent by a client and decodes it
// into p, whose old content is lost. Whether the alias is known and allowed is
// for Aliases.Resolve to say.
func DecodePublish(version byte, packet []byte, p *Publish) *Fault {
	b, f := body(version, packet)
	if f != nil {
		return f
	}
	if packet[0]>>4 != PUBLISH {
		return violation("2.1.2", "packet is no PUBLISH")
	}
	*p = Publish{QoS: packet[0] >> 1 & 3, Dup: packet[0]&8 != 0, Retain: packet[0]&1 != 0}
	if p.QoS == 3 {
		return malformed("MQTT-3.3.1-4", "PUBLISH with QoS 3")
	}
	if p.Dup && p.QoS == 0 {
		return violation("MQTT-3.3.1-2", "PUBLISH with DUP and QoS 0")
	}
	c := cursor{b: b}
	p.Topic = c.field()
	if p.QoS > 0 {
		p.ID = c.u16()
	}
	if c.short {
		return malformed("3.3.2", "PUBLISH is cut off")
	}
	if f := topicFault(p.Topic); f != nil {
		return f
	}
	if p.QoS > 0 && p.ID == 0 {
		return violation("MQTT-2.2.1-3", "PUBLISH with packet identifier 0")
	}
	if version == V5 {
		if len(c.b) > 0 && c.b[0] == 0 { // no properties, the common case
			c.b = c.b[1:]
		} else if f := p.Properties.read(&c, publishProps); f != nil {
			return f
		}
	}
	if len(p.Topic) == 0 && p.TopicAlias == 0 {
		return violation("MQTT-4.7.3-1", "PUBLISH with neither topic name nor topic alias")
	}
	p.Payload = c.b
	return nil
}

// Aliases are the topic aliases that one client has set on one connection
// (section 3.3.2.3.4). Not safe for concurrent use. The zero value allows none.
type Aliases struct {
	limit  uint16
	topics map[uint16][]byte
}

// NewAliases returns an empty table for aliases 1 to limit, the Topic
// Alias Maximum of the CONNACK.
func NewAliases(limit uint16) *Aliases { return &Aliases{limit: limit} }

// Resolve applies p's alias: it remembers p.Topic under it or, if p.Topic is
// empty, puts the remembered topic there. That topic belongs to the table; it
// must not be written to and is not overwritten later.
func (a *Aliases) Resolve(p *Publish) *Fault {
	switch {
	case p.TopicAlias == 0:
		return nil
	case p.TopicAlias > a.limit:
		return refusal(TopicAliasInvalid, "MQTT-3.3.2-9", "topic alias is above the maximum that the server announced")
	case len(p.Topic) == 0:
		t, ok := a.topics[p.TopicAlias]
		if !ok {
			return violation("MQTT-3.3.2-7", "topic alias has no topic on this connection")
		}
		p.Topic = t
		return nil
	}
	if a.topics == nil {
		a.topics = make(map[uint16][]byte)
	}
	if string(a.topics[p.TopicAlias]) != string(p.Topic) {
		a.topics[p.TopicAlias] = bytes.Clone(p.Topic)
	}
	return nil
}
