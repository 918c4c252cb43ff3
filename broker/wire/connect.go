package wire

import "bytes"

// Connect is a decoded CONNECT. It owns its memory: nothing is a view into the packet.
type Connect struct {
	// Version shapes the answer: V311, V5, or 0 when the peer should be closed
	// without one. It is set as far as possible even beside a Fault.
	Version byte

	ClientID    string // empty: the server assigns one
	Username    string
	Password    []byte
	HasUsername bool
	HasPassword bool
	KeepAlive   uint16 // seconds; 0: none
	Clean       bool   // clean session (3.1.1), clean start (5.0)
	Will        *Will  // nil: none

	// SessionExpiry in seconds: 0 ends the session with the connection. 3.1.1 has
	// only 0 (clean session) and NeverExpires.
	SessionExpiry     uint32
	ReceiveMaximum    uint16 // PUBLISH of QoS 1 and 2 in flight towards the client; 65,535 when not sent
	MaxPacketSize     uint32 // bytes; 0: no limit
	TopicAliasMaximum uint16 // aliases the server may use towards the client
	RequestProblem    bool   // reason strings and user properties may go with any packet; true when not sent
	RequestResponse   bool
	User              []UserProperty
}

// UserProperty is one name and value of MQTT 5.0; names may repeat.
type UserProperty struct{ Name, Value string }

// Will is the message that a CONNECT leaves with the server.
type Will struct {
	Topic   string
	Payload []byte
	Properties
	QoS    byte
	Retain bool
}

// Connect flags (section 3.1.2.3).
const (
	flagReserved byte = 1 << iota
	flagClean
	flagWill
	flagWillQoS1
	flagWillQoS2
	flagWillRetain
	flagPassword
	flagUsername
)

// DecodeConnect vets and decodes the first packet of a connection. Beside a
// fault, the returned Version says how to answer (Fault.AppendConnack).
//
// No authentication method of 5.0 is supported: a CONNECT that names one is
// refused with 0x8C (MQTT-4.12.0-1).
func DecodeConnect(packet []byte) (Connect, *Fault) {
	var c Connect
	if Type(packet) != CONNECT {
		return c, violation("MQTT-3.1.0-1", "first packet is not CONNECT")
	}
	b, f := body(0, packet)
	if f != nil {
		return c, f
	}
	cur := cursor{b: bytes.Clone(b)}
	name, level := cur.field(), cur.u8()
	switch {
	case cur.short:
		return c, malformed("3.1.2", "CONNECT is cut off")
	case string(name) == "MQIsdp":
		c.Version = V311
		return c, versionFault()
	case string(name) != "MQTT":
		return c, refusal(UnsupportedVersion, "MQTT-3.1.2-1", "protocol name is not MQTT")
	case level != V311 && level != V5:
		c.Version = answerVersion(level, cur)
		return c, versionFault()
	}
	c.Version = level
	if _, f := body(level, packet); f != nil {
		return c, f
	}
	if f := flagsFault(packet[0]); f != nil {
		return c, f
	}
	return c, c.read(&cur)
}

func versionFault() *Fault {
	return &Fault{Code: UnsupportedVersion, Connack: ConnackVersion, Clause: "MQTT-3.1.2-2", Reason: "protocol level is not supported"}
}

// answerVersion chooses the CONNACK for a level that is neither 4 nor 5. Newer
// levels can be built like either; the one as which the rest makes sense wins.
func answerVersion(level byte, rest cursor) byte {
	probe := Connect{Version: V5}
	if level > V5 && probe.read(&rest) == nil {
		return V5
	}
	return V311
}

// read decodes what follows the protocol level.
func (c *Connect) read(cur *cursor) *Fault {
	flags := cur.u8()
	c.KeepAlive = cur.u16()
	c.Clean = flags&flagClean != 0
	c.ReceiveMaximum, c.RequestProblem = 65535, true
	if c.Version == V311 && !c.Clean {
		c.SessionExpiry = NeverExpires
	}
	if cur.short {
		return malformed("3.1.2", "CONNECT is cut off")
	}
	if f := connectFlagsFault(c.Version, flags); f != nil {
		return f
	}
	if c.Version == V5 {
		if f := c.properties(cur); f != nil {
			return f
		}
	}
	if f := c.clientID(cur); f != nil {
		return f
	}
	if flags&flagWill != 0 {
		if f := c.will(cur, flags); f != nil {
			return f
		}
	}
	return c.credentials(cur, flags)
}

func connectFlagsFault(version, flags byte) *Fault {
	switch {
	case flags&flagReserved != 0:
		return malformed("MQTT-3.1.2-3", "reserved flag of CONNECT is not 0")
	case flags&flagWill == 0 && flags&(flagWillQoS1|flagWillQoS2) != 0:
		return malformed("MQTT-3.1.2-11", "will QoS without a will")
	case flags&flagWill == 0 && flags&flagWillRetain != 0:
		return malformed("MQTT-3.1.2-13", "will retain without a will")
	case flags&(flagWillQoS1|flagWillQoS2) == flagWillQoS1|flagWillQoS2:
		return malformed("MQTT-3.1.2-12", "will with QoS 3")
	case version == V311 && flags&flagPassword != 0 && flags&flagUsername == 0:
		return malformed("3.1.1 MQTT-3.1.2-22", "password without a user name")
	}
	return nil
}

func (c *Connect) properties(cur *cursor) *Fault {
	s, f := cur.section(connectProps)
	if f != nil {
		return f
	}
	for {
		more, f := s.next()
		if f != nil {
			return f
		}
		if !more {
			return authFault(s.seen)
		}
		if f := c.keep(&s); f != nil {
			return f
		}
	}
}

func (c *Connect) keep(s *scanner) *Fault {
	switch s.id {
	case PropSessionExpiry:
		c.SessionExpiry = s.num
	case PropReceiveMaximum:
		if c.ReceiveMaximum = uint16(s.num); s.num == 0 {
			return violation("3.1.2.11.3", "receive maximum is 0")
		}
	case PropMaximumPacketSize:
		if c.MaxPacketSize = s.num; s.num == 0 {
			return violation("3.1.2.11.4", "maximum packet size is 0")
		}
	case PropTopicAliasMaximum:
		c.TopicAliasMaximum = uint16(s.num)
	case PropRequestResponse:
		c.RequestResponse = s.num == 1
	case PropRequestProblem:
		c.RequestProblem = s.num == 1
	case PropUser:
		c.User = append(c.User, UserProperty{Name: string(s.text), Value: string(s.pair)})
	}
	return nil
}

func authFault(seen propSet) *Fault {
	switch {
	case seen.has(PropAuthMethod):
		return refusal(BadAuthMethod, "MQTT-4.12.0-1", "authentication method is not supported")
	case seen.has(PropAuthData):
		return violation("3.1.2.11.10", "authentication data without an authentication method")
	}
	return nil
}

func (c *Connect) clientID(cur *cursor) *Fault {
	id := cur.field()
	if cur.short {
		return malformed("MQTT-3.1.3-3", "client identifier is cut off")
	}
	if f := textFault(id); f != nil {
		return f
	}
	c.ClientID = string(id)
	if len(id) == 0 && c.Version == V311 && !c.Clean {
		return &Fault{Code: InvalidClientID, Connack: ConnackClientID, Clause: "3.1.1 MQTT-3.1.3-8",
			Reason: "empty client identifier without clean session"}
	}
	return nil
}

func (c *Connect) will(cur *cursor, flags byte) *Fault {
	w := &Will{QoS: flags >> 3 & 3, Retain: flags&flagWillRetain != 0}
	if c.Version == V5 {
		if f := w.Properties.read(cur, willProps); f != nil {
			return f
		}
	}
	topic := cur.field()
	w.Payload = cur.field()
	if cur.short {
		return malformed("MQTT-3.1.2-9", "will is cut off")
	}
	if f := VetTopic(topic); f != nil {
		return f
	}
	w.Topic = string(topic)
	c.Will = w
	return nil
}

func (c *Connect) credentials(cur *cursor, flags byte) *Fault {
	if c.HasUsername = flags&flagUsername != 0; c.HasUsername {
		name := cur.field()
		if f := textFault(name); f != nil {
			return f
		}
		c.Username = string(name)
	}
	if c.HasPassword = flags&flagPassword != 0; c.HasPassword {
		c.Password = cur.field()
	}
	if cur.short {
		return malformed("MQTT-3.1.2-17", "user name or password is missing or cut off")
	}
	if len(cur.b) != 0 {
		return malformed("3.1.3", "bytes follow the payload of CONNECT")
	}
	return nil
}
