package mqtttest

// Bytes builds a packet of any first byte from the parts of its body, with the
// right remaining length. Use it, or plain bytes, for what must be refused.
func Bytes(first byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := appendVarint([]byte{first}, uint32(n))
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// Field is a string or binary value as it goes over the wire: two bytes of length, then s.
func Field(s string) []byte { return appendField(nil, s) }

// Section is a property section as it goes over the wire: its length, then the properties.
func Section(props ...Prop) []byte {
	var b []byte
	for _, p := range props {
		b = appendProp(b, p)
	}
	return append(appendVarint(nil, uint32(len(b))), b...)
}

// Connect is a CONNECT. The zero value is a clean session without a client id.
type Connect struct {
	ClientID  string
	Username  string // sent when not empty
	Password  string // sent when not empty
	Keep      bool   // clean session (clean start) off
	KeepAlive uint16 // seconds; 0: none
	Will      *Publish
	WillProps []Prop
	Props     []Prop
}

// Bytes encodes the packet for a version.
func (c Connect) Bytes(version byte) []byte {
	var flags byte
	if !c.Keep {
		flags |= 2
	}
	b := []byte{byte(c.KeepAlive >> 8), byte(c.KeepAlive)}
	if version == V5 {
		b = append(b, Section(c.Props...)...)
	}
	b = appendField(b, c.ClientID)
	if c.Will != nil {
		flags |= 4 | c.Will.QoS<<3
		if c.Will.Retain {
			flags |= 0x20
		}
		if version == V5 {
			b = append(b, Section(c.WillProps...)...)
		}
		b = appendField(appendField(b, c.Will.Topic), c.Will.Payload)
	}
	if c.Username != "" {
		flags |= 0x80
		b = appendField(b, c.Username)
	}
	if c.Password != "" {
		flags |= 0x40
		b = appendField(b, c.Password)
	}
	return Bytes(CONNECT<<4, Field("MQTT"), []byte{version, flags}, b)
}

// Publish is a PUBLISH.
type Publish struct {
	Topic   string
	Payload string
	QoS     byte
	Retain  bool
	Dup     bool
	ID      uint16 // 0: the client chooses one when QoS is not 0
	Props   []Prop
}

// Bytes encodes the packet for a version.
func (p Publish) Bytes(version byte) []byte { return p.append(nil, version) }

func (p Publish) append(dst []byte, version byte) []byte {
	first := PUBLISH<<4 | p.QoS<<1
	if p.Retain {
		first |= 1
	}
	if p.Dup {
		first |= 8
	}
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	var props []byte
	if version == V5 {
		props = Section(p.Props...)
	}
	dst = appendField(appendVarint(append(dst, first), uint32(n+len(props))), p.Topic)
	if p.QoS > 0 {
		dst = append(dst, byte(p.ID>>8), byte(p.ID))
	}
	return append(append(dst, props...), p.Payload...)
}

// Ack encodes a PUBACK, PUBREC, PUBREL or PUBCOMP; code is sent to 5.0 only, when not 0.
func Ack(version, typ byte, id uint16, code byte) []byte {
	b := []byte{byte(id >> 8), byte(id)}
	if version == V5 && code != 0 {
		b = append(b, code)
	}
	return Bytes(typ<<4|wantFlags(typ), b)
}

func appendVarint(b []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func appendField(b []byte, s string) []byte {
	return append(append(b, byte(len(s)>>8), byte(len(s))), s...)
}

// appendProp writes an unknown identifier without a value: a test may want that.
func appendProp(b []byte, p Prop) []byte {
	b = append(b, p.ID)
	switch p.ID {
	case PayloadFormat, RequestProblem, RequestResponse, MaximumQoS, RetainAvailable, WildcardAvailable, SubIDAvailable, SharedAvailable:
		return append(b, byte(p.Num))
	case ServerKeepAlive, ReceiveMaximum, TopicAliasMaximum, TopicAlias:
		return append(b, byte(p.Num>>8), byte(p.Num))
	case MessageExpiry, SessionExpiry, WillDelay, MaximumPacketSize:
		return append(b, byte(p.Num>>24), byte(p.Num>>16), byte(p.Num>>8), byte(p.Num))
	case SubscriptionID:
		return appendVarint(b, p.Num)
	case UserProperty:
		return appendField(appendField(b, p.Name), p.Text)
	case CorrelationData, AuthData, ContentType, ResponseTopic, AssignedClientID, AuthMethod, ResponseInfo, ServerReference, ReasonString:
		return appendField(b, p.Text)
	}
	return b
}
