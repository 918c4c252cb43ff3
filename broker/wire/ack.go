package wire

// Ack is a decoded PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	Type   byte
	Reason byte // always Success in 3.1.1
	ID     uint16
}

// codeSet is a set of reason codes, one bit each.
type codeSet [4]uint64

func codes(cs ...byte) codeSet {
	var s codeSet
	for _, c := range cs {
		s[c>>6] |= 1 << (c & 63)
	}
	return s
}

func (s *codeSet) has(c byte) bool { return s[c>>6]>>(c&63)&1 != 0 }

// Reason codes that a client may put into a packet.
var (
	receivedCodes = codes(Success, NoMatchingSubscribers, UnspecifiedError, ImplementationError, NotAuthorized,
		TopicNameInvalid, PacketIDInUse, QuotaExceeded, PayloadFormatInvalid)
	releaseCodes    = codes(Success, PacketIDNotFound)
	disconnectCodes = codes(Success, DisconnectWithWill, UnspecifiedError, MalformedPacket, ProtocolError,
		ImplementationError, TopicNameInvalid, ReceiveMaxExceeded, TopicAliasInvalid, PacketTooLarge,
		MessageRateTooHigh, QuotaExceeded, AdministrativeAction, PayloadFormatInvalid)
	authCodes = codes(ContinueAuthentication, ReAuthenticate)
)

// DecodeAck vets and decodes a whole PUBACK, PUBREC, PUBREL or PUBCOMP.
func DecodeAck(version byte, packet []byte) (Ack, *Fault) {
	b, f := body(version, packet)
	if f != nil {
		return Ack{}, f
	}
	a := Ack{Type: packet[0] >> 4}
	if a.Type < PUBACK || a.Type > PUBCOMP {
		return a, violation("2.1.2", "packet is no acknowledgement")
	}
	if f := flagsFault(packet[0]); f != nil {
		return a, f
	}
	if len(b) < 2 || version != V5 && len(b) != 2 {
		return a, malformed("3.4.1", "acknowledgement with a wrong length")
	}
	a.ID = uint16(b[0])<<8 | uint16(b[1])
	if a.ID == 0 {
		return a, violation("2.2.1", "acknowledgement with packet identifier 0")
	}
	if len(b) > 2 {
		a.Reason = b[2]
		return a, ackTail(a.Type, b[2:])
	}
	return a, nil
}

// ackTail checks the reason code and the properties of a 5.0 acknowledgement.
func ackTail(typ byte, b []byte) *Fault {
	legal, clause := &receivedCodes, "MQTT-3.4.2-1"
	switch typ {
	case PUBREC:
		clause = "MQTT-3.5.2-1"
	case PUBREL:
		legal, clause = &releaseCodes, "MQTT-3.6.2-1"
	case PUBCOMP:
		legal, clause = &releaseCodes, "MQTT-3.7.2-1"
	}
	if !legal.has(b[0]) {
		return violation(clause, "acknowledgement with a reason code that it cannot have")
	}
	if len(b) == 1 {
		return nil
	}
	c := cursor{b: b[1:]}
	s, f := c.section(ackProps)
	if f != nil {
		return f
	}
	if len(c.b) != 0 {
		return malformed("3.4.2.2", "bytes follow the properties of an acknowledgement")
	}
	return s.drain()
}

// flagsFault checks the reserved flags of every type but PUBLISH (section 2.1.3).
func flagsFault(first byte) *Fault {
	var want byte
	switch first >> 4 {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		want = 2
	}
	if first&15 != want {
		return malformed("MQTT-2.1.3-1", "reserved flags of the fixed header are wrong")
	}
	return nil
}
