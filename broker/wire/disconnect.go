package wire

// NeverExpires is the session expiry interval of a session that does not end by itself.
const NeverExpires uint32 = 0xffff_ffff

// Disconnect is a decoded DISCONNECT.
type Disconnect struct {
	Reason        byte   // Success in 3.1.1
	SessionExpiry uint32 // the interval in force from now on, in seconds
}

// DecodeDisconnect vets and decodes a client's DISCONNECT. expiry is the session
// expiry interval of its CONNECT: 0 cannot be raised any more (section 3.14.2.2.2).
func DecodeDisconnect(version byte, packet []byte, expiry uint32) (Disconnect, *Fault) {
	d := Disconnect{SessionExpiry: expiry}
	b, f := body(version, packet)
	if f != nil {
		return d, f
	}
	if Type(packet) != DISCONNECT {
		return d, violation("2.1.2", "packet is no DISCONNECT")
	}
	if packet[0] != DISCONNECT<<4 {
		return d, malformed("MQTT-3.14.1-1", "reserved flags of DISCONNECT are not 0")
	}
	if len(b) == 0 {
		return d, nil
	}
	if version != V5 {
		return d, malformed("3.1.1 3.14", "DISCONNECT with a body")
	}
	c := cursor{b: b}
	if d.Reason = c.u8(); !disconnectCodes.has(d.Reason) {
		return d, violation("MQTT-3.14.2-1", "DISCONNECT with a reason code that a client cannot send")
	}
	if len(c.b) == 0 {
		return d, nil
	}
	s, f := c.section(disconnectProps)
	if f != nil {
		return d, f
	}
	if len(c.b) != 0 {
		return d, malformed("3.14.2", "bytes follow the properties of DISCONNECT")
	}
	return d, d.properties(&s, expiry)
}

func (d *Disconnect) properties(s *scanner, expiry uint32) *Fault {
	for {
		more, f := s.next()
		if !more || f != nil {
			return f
		}
		if s.id != PropSessionExpiry {
			continue
		}
		if expiry == 0 && s.num != 0 {
			return violation("3.14.2.2.2", "DISCONNECT raises a session expiry interval of 0")
		}
		d.SessionExpiry = s.num
	}
}
