package mqtttest

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Packet is a decoded packet of either direction. Fields that its type does not
// have are zero.
type Packet struct {
	Type  byte
	Flags byte
	Body  []byte // everything behind the fixed header

	Topic   string
	Payload []byte
	QoS     byte
	Dup     bool
	Retain  bool

	ID             uint16
	Code           byte   // return or reason code of CONNACK, an acknowledgement, DISCONNECT, AUTH
	Codes          []byte // of SUBACK and UNSUBACK
	SessionPresent bool
	Props          []Prop // in the order sent
}

// Prop is one property of MQTT 5.0: Num for the integer types, Text for strings
// and binary data, Name and Text for a user property.
type Prop struct {
	ID   byte
	Num  uint32
	Name string
	Text string
}

// Num makes a property of an integer type.
func Num(id byte, n uint32) Prop { return Prop{ID: id, Num: n} }

// Text makes a property of type string or binary data.
func Text(id byte, s string) Prop { return Prop{ID: id, Text: s} }

// User makes a user property.
func User(name, value string) Prop { return Prop{ID: UserProperty, Name: name, Text: value} }

// Prop returns the first property with this identifier and whether there is one.
func (p Packet) Prop(id byte) (Prop, bool) {
	for _, q := range p.Props {
		if q.ID == id {
			return q, true
		}
	}
	return Prop{}, false
}

// All returns every property with this identifier, in the order sent.
func (p Packet) All(id byte) []Prop {
	var all []Prop
	for _, q := range p.Props {
		if q.ID == id {
			all = append(all, q)
		}
	}
	return all
}

// String tells the packet in one line, for test failures.
func (p Packet) String() string {
	s := typeNames[p.Type&15]
	switch p.Type {
	case PUBLISH:
		s += fmt.Sprintf(" %q %.60q qos %d id %d dup %v retain %v", p.Topic, p.Payload, p.QoS, p.ID, p.Dup, p.Retain)
	case SUBACK, UNSUBACK:
		s += fmt.Sprintf(" id %d codes % x", p.ID, p.Codes)
	case CONNACK:
		s += fmt.Sprintf(" code %#x session %v", p.Code, p.SessionPresent)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		s += fmt.Sprintf(" id %d code %#x", p.ID, p.Code)
	case DISCONNECT, AUTH:
		s += fmt.Sprintf(" code %#x", p.Code)
	}
	if len(p.Props) > 0 {
		s += fmt.Sprintf(" %+v", p.Props)
	}
	return s
}

var errShort = errors.New("packet is cut off")

// Decode decodes one whole packet: its first byte and what follows the fixed
// header. Only what a server sends is decoded beyond the fixed header, plus
// PUBLISH and the acknowledgements.
func Decode(version, first byte, body []byte) (Packet, error) {
	p := Packet{Type: first >> 4, Flags: first & 15, Body: body}
	d := decoder{b: body}
	var err error
	switch p.Type {
	case CONNACK:
		err = p.decodeConnack(version, &d)
	case PUBLISH:
		err = p.decodePublish(version, &d)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p.ID = d.u16()
		err = p.decodeReason(version, &d)
	case SUBACK, UNSUBACK:
		p.ID = d.u16()
		if version == V5 {
			p.Props, err = d.props()
		}
		p.Codes = d.rest()
	case DISCONNECT, AUTH:
		err = p.decodeReason(version, &d)
	case CONNECT, SUBSCRIBE, UNSUBSCRIBE:
		d.b = nil
	}
	switch {
	case err != nil:
	case d.short:
		err = errShort
	case len(d.b) > 0:
		err = fmt.Errorf("%d bytes too many", len(d.b))
	case p.Type != PUBLISH && p.Flags != wantFlags(p.Type):
		err = fmt.Errorf("flags %#x", p.Flags)
	}
	if err != nil {
		return p, fmt.Errorf("decode %s % x: %w", typeNames[p.Type], body, err)
	}
	return p, nil
}

func wantFlags(typ byte) byte {
	if typ == PUBREL || typ == SUBSCRIBE || typ == UNSUBSCRIBE {
		return 2
	}
	return 0
}

func (p *Packet) decodeConnack(version byte, d *decoder) (err error) {
	present := d.u8()
	p.SessionPresent, p.Code = present&1 != 0, d.u8()
	if present > 1 {
		return fmt.Errorf("acknowledge flags %#x", present)
	}
	// A refusal of the version comes in the oldest form.
	if version == V5 && len(d.b) > 0 {
		p.Props, err = d.props()
	}
	return err
}

func (p *Packet) decodePublish(version byte, d *decoder) (err error) {
	p.QoS, p.Dup, p.Retain = p.Flags>>1&3, p.Flags&8 != 0, p.Flags&1 != 0
	if p.QoS == 3 {
		return errors.New("QoS 3")
	}
	p.Topic = d.text()
	if p.QoS > 0 {
		if p.ID = d.u16(); p.ID == 0 {
			return errors.New("packet id 0")
		}
	}
	if version == V5 {
		p.Props, err = d.props()
	}
	p.Payload = d.rest()
	return err
}

// decodeReason decodes the optional tail of a 5.0 packet: reason code and properties.
func (p *Packet) decodeReason(version byte, d *decoder) (err error) {
	if version != V5 || len(d.b) == 0 {
		return nil
	}
	p.Code = d.u8()
	if len(d.b) > 0 {
		p.Props, err = d.props()
	}
	return err
}

// decoder takes a body apart; after a read beyond the end short stays set.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.short, d.b = true, nil
		return make([]byte, min(n, 2)) // enough zeros for u8 and u16
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) rest() []byte { return d.take(len(d.b)) }
func (d *decoder) u8() byte     { return d.take(1)[0] }
func (d *decoder) u16() uint16  { v := d.take(2); return uint16(v[0])<<8 | uint16(v[1]) }
func (d *decoder) u32() uint32  { return uint32(d.u16())<<16 | uint32(d.u16()) }
func (d *decoder) text() string { return string(d.take(int(d.u16()))) }

func (d *decoder) varint() (v uint32) {
	for i := range 4 {
		c := d.u8()
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v
		}
	}
	d.short = true
	return 0
}

func (d *decoder) props() ([]Prop, error) {
	s := decoder{b: d.take(int(d.varint()))}
	if d.short {
		return nil, errShort
	}
	var ps []Prop
	var seen [256]bool
	for len(s.b) > 0 {
		p := Prop{ID: s.u8()}
		switch p.ID {
		case PayloadFormat, RequestProblem, RequestResponse, MaximumQoS, RetainAvailable, WildcardAvailable, SubIDAvailable, SharedAvailable:
			p.Num = uint32(s.u8())
		case ServerKeepAlive, ReceiveMaximum, TopicAliasMaximum, TopicAlias:
			p.Num = uint32(s.u16())
		case MessageExpiry, SessionExpiry, WillDelay, MaximumPacketSize:
			p.Num = s.u32()
		case SubscriptionID:
			p.Num = s.varint()
		case UserProperty:
			p.Name = s.text()
			p.Text = s.text()
		case CorrelationData, AuthData, ContentType, ResponseTopic, AssignedClientID, AuthMethod, ResponseInfo, ServerReference, ReasonString:
			p.Text = s.text()
		default:
			return ps, fmt.Errorf("unknown property %d", p.ID)
		}
		switch {
		case s.short:
			return ps, fmt.Errorf("property %d is cut off", p.ID)
		case seen[p.ID] && p.ID != UserProperty && p.ID != SubscriptionID:
			return ps, fmt.Errorf("property %d occurs twice", p.ID)
		case p.ID != CorrelationData && p.ID != AuthData && !(utf8.ValidString(p.Text) && utf8.ValidString(p.Name)):
			return ps, fmt.Errorf("property %d is not UTF-8", p.ID)
		}
		seen[p.ID] = true
		ps = append(ps, p)
	}
	return ps, nil
}
