package wire

// Vet checks a whole packet that a connected client sent. It knows every type;
// those the caller decodes anyway need no second look here.
func Vet(version byte, packet []byte) *Fault {
	switch Type(packet) {
	case PUBLISH:
		var p Publish
		return DecodePublish(version, packet, &p)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		_, f := DecodeAck(version, packet)
		return f
	case SUBSCRIBE, UNSUBSCRIBE:
		return vetFilters(version, packet)
	case PINGREQ:
		return vetPing(version, packet)
	case DISCONNECT:
		_, f := DecodeDisconnect(version, packet, NeverExpires)
		return f
	case CONNECT:
		return violation("MQTT-3.1.0-2", "second CONNECT on a connection")
	case AUTH:
		if version == V5 {
			return vetAuth(packet)
		}
	case CONNACK, SUBACK, UNSUBACK, PINGRESP:
		return violation("2.1.2", "packet type that only a server sends")
	}
	return malformed("2.1.2", "reserved packet type")
}

func vetPing(version byte, packet []byte) *Fault {
	b, f := body(version, packet)
	if f != nil {
		return f
	}
	if f := flagsFault(packet[0]); f != nil {
		return f
	}
	if len(b) != 0 {
		return malformed("3.12.1", "PINGREQ with a body")
	}
	return nil
}

// vetFilters checks SUBSCRIBE and UNSUBSCRIBE (sections 3.8 and 3.10).
func vetFilters(version byte, packet []byte) *Fault {
	b, f := body(version, packet)
	if f != nil {
		return f
	}
	if f := flagsFault(packet[0]); f != nil {
		return f
	}
	subscribe, allowed := true, subscribeProps
	if Type(packet) == UNSUBSCRIBE {
		subscribe, allowed = false, unsubscribeProps
	}
	c := cursor{b: b}
	id := c.u16()
	if c.short {
		return malformed("2.2.1", "packet without a packet identifier")
	}
	if id == 0 {
		return violation("MQTT-2.2.1-3", "packet identifier is 0")
	}
	if version == V5 {
		s, f := c.section(allowed)
		if f != nil {
			return f
		}
		if f := s.drain(); f != nil {
			return f
		}
	}
	if len(c.b) == 0 {
		if subscribe {
			return violation("MQTT-3.8.3-2", "SUBSCRIBE without a topic filter")
		}
		return violation("MQTT-3.10.3-2", "UNSUBSCRIBE without a topic filter")
	}
	for len(c.b) > 0 {
		if f := filterFault(version, &c, subscribe); f != nil {
			return f
		}
	}
	return nil
}

// filterFault takes one topic filter, with its options byte in SUBSCRIBE, off c.
func filterFault(version byte, c *cursor, options bool) *Fault {
	filter := c.field()
	var o byte
	if options {
		o = c.u8()
	}
	if c.short {
		return malformed("3.8.3", "topic filter or its options byte is cut off")
	}
	shared, f := VetFilter(filter)
	if f != nil {
		return f
	}
	switch {
	case o&3 == 3:
		return violation("3.8.3.1", "subscription with QoS 3")
	case version != V5 && o&^3 != 0:
		return malformed("3.1.1 MQTT-3-8.3-4", "reserved bits of the requested QoS are not 0")
	case o&0xc0 != 0:
		return malformed("MQTT-3.8.3-5", "reserved bits of the subscription options are not 0")
	case o&0x30 == 0x30:
		return violation("3.8.3.1", "subscription with retain handling 3")
	case o&4 != 0 && shared:
		return violation("MQTT-3.8.3-4", "No Local on a shared subscription")
	}
	return nil
}

// vetAuth refuses AUTH: it is legal only after a CONNECT with an authentication
// method (MQTT-4.12.0-7), and DecodeConnect refuses those. The packet is still
// read, so that a malformed one is called malformed.
func vetAuth(packet []byte) *Fault {
	b, f := body(V5, packet)
	if f != nil {
		return f
	}
	if f := flagsFault(packet[0]); f != nil {
		return f
	}
	c := cursor{b: b}
	if len(b) > 0 && !authCodes.has(c.u8()) {
		return violation("MQTT-3.15.2-1", "AUTH with a reason code that a client cannot send")
	}
	if len(c.b) > 0 {
		s, f := c.section(authProps)
		if f != nil {
			return f
		}
		if len(c.b) != 0 {
			return malformed("3.15.2", "bytes follow the properties of AUTH")
		}
		if f := s.drain(); f != nil {
			return f
		}
	}
	return violation("MQTT-4.12.0-7", "AUTH on a connection without an authentication method")
}
