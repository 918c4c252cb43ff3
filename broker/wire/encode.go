package wire

import "unicode/utf8"

const maxText = 65_535 // a string or binary value has a two-byte length

// Outgoing is a PUBLISH for a client. Shared and Own are two runs of encoded
// properties that go out one after the other: those of the message, encoded
// once for all subscribers, and those of this subscriber (alias, subscription
// identifiers, what is left of the expiry). 3.1.1 leaves both out.
type Outgoing struct {
	Version byte
	QoS     byte
	Dup     bool
	Retain  bool
	ID      uint16 // left out with QoS 0
	Topic   string // empty when an alias in Own stands for it; at most 65,535 bytes
	Shared  []byte
	Own     []byte
	Payload []byte
}

func (o *Outgoing) remaining() int {
	n := 2 + len(o.Topic) + len(o.Payload)
	if o.QoS > 0 {
		n += 2
	}
	if o.Version == V5 {
		p := len(o.Shared) + len(o.Own)
		n += varintSize(p) + p
	}
	return n
}

// Size returns the length of the whole packet in bytes.
func (o *Outgoing) Size() int {
	n := o.remaining()
	return 1 + varintSize(n) + n
}

// Fits tells whether the packet may be sent to a client whose maximum packet
// size is limit bytes (0: none), and whether MQTT can express it at all.
func (o *Outgoing) Fits(limit uint32) bool {
	return len(o.Topic) <= maxText && o.remaining() <= MaxRemaining && (limit == 0 || uint64(o.Size()) <= uint64(limit))
}

// Append appends the packet to dst. A packet that does not fit (Fits) must not be appended.
func (o *Outgoing) Append(dst []byte) []byte {
	first := PUBLISH<<4 | o.QoS<<1
	if o.Dup {
		first |= 8
	}
	if o.Retain {
		first |= 1
	}
	dst = appendVarint(append(dst, first), o.remaining())
	dst = append(dst, byte(len(o.Topic)>>8), byte(len(o.Topic)))
	dst = append(dst, o.Topic...)
	if o.QoS > 0 {
		dst = append(dst, byte(o.ID>>8), byte(o.ID))
	}
	if o.Version == V5 {
		dst = appendVarint(dst, len(o.Shared)+len(o.Own))
		dst = append(append(dst, o.Shared...), o.Own...)
	}
	return append(dst, o.Payload...)
}

// AppendByteProp appends a property of type byte.
func AppendByteProp(dst []byte, id, v byte) []byte { return append(dst, id, v) }

// AppendU16Prop appends a property of type two byte integer.
func AppendU16Prop(dst []byte, id byte, v uint16) []byte {
	return append(dst, id, byte(v>>8), byte(v))
}

// AppendU32Prop appends a property of type four byte integer.
func AppendU32Prop(dst []byte, id byte, v uint32) []byte {
	return append(dst, id, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// AppendVarintProp appends a property of type variable byte integer: a
// subscription identifier, 1 to MaxRemaining.
func AppendVarintProp(dst []byte, id byte, v int) []byte {
	return appendVarint(append(dst, id), v)
}

// AppendTextProp appends a property of type string or binary. A value of more
// than 65,535 bytes, which MQTT cannot carry, is cut.
func AppendTextProp[T string | []byte](dst []byte, id byte, v T) []byte {
	return appendField(append(dst, id), v)
}

// AppendUserProp appends a user property; name and value are cut like texts.
func AppendUserProp(dst []byte, name, value string) []byte {
	return appendField(appendField(append(dst, PropUser), name), value)
}

func appendField[T string | []byte](dst []byte, v T) []byte {
	v = v[:cut(v)]
	return append(append(dst, byte(len(v)>>8), byte(len(v))), v...)
}

// cut returns how much of v fits into a string, without splitting a character.
func cut[T string | []byte](v T) int {
	if len(v) <= maxText {
		return len(v)
	}
	n := maxText
	for n > maxText-utf8.UTFMax && !utf8.RuneStart(v[n]) {
		n--
	}
	return n
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. Success and 3.1.1 give
// the four-byte form that every client understands.
func AppendAck(dst []byte, version, typ byte, id uint16, reason byte) []byte {
	first := typ << 4
	if typ == PUBREL {
		first |= 2
	}
	if version != V5 || reason == Success {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	return append(dst, first, 3, byte(id>>8), byte(id), reason)
}

// AppendDisconnect appends a 5.0 DISCONNECT with a reason code and, unless it is
// empty or does not fit into limit bytes (0: no limit), a reason string. It
// appends nothing if not even the code fits (MQTT-3.1.2-24).
func AppendDisconnect(dst []byte, code byte, reason string, limit uint32) []byte {
	n := reasonSize(reason)
	if limit != 0 && uint64(n)+8 > uint64(limit) { // 8: the header at its longest
		n = 0
	}
	if limit != 0 && limit < 4 {
		return dst
	}
	dst = appendVarint(append(dst, DISCONNECT<<4), 1+varintSize(n)+n)
	return appendReason(append(dst, code), n, reason)
}

// AppendConnack appends a CONNACK without properties but a reason string (5.0
// only). code is a reason code of 5.0 or a return code of 3.1.1.
func AppendConnack(dst []byte, version byte, sessionPresent bool, code byte, reason string) []byte {
	var present byte
	if sessionPresent {
		present = 1
	}
	if version != V5 {
		return append(dst, CONNACK<<4, 2, present, code)
	}
	n := reasonSize(reason)
	dst = appendVarint(append(dst, CONNACK<<4), 2+varintSize(n)+n)
	return appendReason(append(dst, present, code), n, reason)
}

func reasonSize(reason string) int {
	if reason == "" {
		return 0
	}
	return 3 + cut(reason)
}

// appendReason appends a property section of n bytes: the reason string or, with n 0, none.
func appendReason(dst []byte, n int, reason string) []byte {
	dst = appendVarint(dst, n)
	if n == 0 {
		return dst
	}
	return AppendTextProp(dst, PropReasonString, reason)
}
