package wire

// The engine behind refuses or misreads some packets that are legal: a CONNECT
// with an empty password or an empty will payload (it answers 0x82), a DISCONNECT
// of one byte (it overlooks the reason, and with it the wish for the will). The
// methods below write a decoded packet anew, in a form that the caller may
// change first.

// Append appends c as a CONNECT of c.Version.
func (c *Connect) Append(dst []byte) []byte {
	b := []byte{0, 4, 'M', 'Q', 'T', 'T', c.Version, c.flags(), byte(c.KeepAlive >> 8), byte(c.KeepAlive)}
	if c.Version == V5 {
		p := c.appendProperties(nil)
		b = append(appendVarint(b, len(p)), p...)
	}
	b = appendField(b, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			b = append(appendVarint(b, len(w.Raw)), w.Raw...)
		}
		b = appendField(appendField(b, w.Topic), w.Payload)
	}
	if c.HasUsername {
		b = appendField(b, c.Username)
	}
	if c.HasPassword {
		b = appendField(b, c.Password)
	}
	return append(appendVarint(append(dst, CONNECT<<4), len(b)), b...)
}

func (c *Connect) flags() byte {
	var f byte
	if c.Clean {
		f |= flagClean
	}
	if w := c.Will; w != nil {
		f |= flagWill | w.QoS<<3
		if w.Retain {
			f |= flagWillRetain
		}
	}
	if c.HasUsername {
		f |= flagUsername
	}
	if c.HasPassword {
		f |= flagPassword
	}
	return f
}

// appendProperties leaves out what has its default value, the session expiry
// excepted: the engine bounds the will delay by it only when it is there.
func (c *Connect) appendProperties(dst []byte) []byte {
	dst = AppendU32Prop(dst, PropSessionExpiry, c.SessionExpiry)
	if c.ReceiveMaximum != 65535 {
		dst = AppendU16Prop(dst, PropReceiveMaximum, c.ReceiveMaximum)
	}
	if c.MaxPacketSize != 0 {
		dst = AppendU32Prop(dst, PropMaximumPacketSize, c.MaxPacketSize)
	}
	if c.TopicAliasMaximum != 0 {
		dst = AppendU16Prop(dst, PropTopicAliasMaximum, c.TopicAliasMaximum)
	}
	if c.RequestResponse {
		dst = AppendByteProp(dst, PropRequestResponse, 1)
	}
	if !c.RequestProblem {
		dst = AppendByteProp(dst, PropRequestProblem, 0)
	}
	for _, u := range c.User {
		dst = AppendUserProp(dst, u.Name, u.Value)
	}
	return dst
}

// Append appends d as a DISCONNECT with a body that states reason and session
// expiry; 3.1.1 has no body.
func (d Disconnect) Append(dst []byte, version byte) []byte {
	if version != V5 {
		return append(dst, DISCONNECT<<4, 0)
	}
	return AppendU32Prop(append(dst, DISCONNECT<<4, 7, d.Reason, 5), PropSessionExpiry, d.SessionExpiry)
}
