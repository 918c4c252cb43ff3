package wire

import "iter"

// Property identifiers (MQTT 5.0 section 2.2.2.2).
const (
	PropPayloadFormat      byte = 1
	PropMessageExpiry      byte = 2
	PropContentType        byte = 3
	PropResponseTopic      byte = 8
	PropCorrelationData    byte = 9
	PropSubscriptionID     byte = 11
	PropSessionExpiry      byte = 17
	PropAssignedClientID   byte = 18
	PropServerKeepAlive    byte = 19
	PropAuthMethod         byte = 21
	PropAuthData           byte = 22
	PropRequestProblem     byte = 23
	PropWillDelay          byte = 24
	PropRequestResponse    byte = 25
	PropResponseInfo       byte = 26
	PropServerReference    byte = 28
	PropReasonString       byte = 31
	PropReceiveMaximum     byte = 33
	PropTopicAliasMaximum  byte = 34
	PropTopicAlias         byte = 35
	PropMaximumQoS         byte = 36
	PropRetainAvailable    byte = 37
	PropUser               byte = 38
	PropMaximumPacketSize  byte = 39
	PropWildcardAvailable  byte = 40
	PropSubIDAvailable     byte = 41
	PropSharedSubAvailable byte = 42
)

type propType byte

const (
	typeByte propType = iota + 1
	typeU16
	typeU32
	typeVarint
	typeText
	typeBinary
	typePair
)

// propTypes holds the type of every property; the zero value marks identifiers
// that do not exist.
var propTypes = [64]propType{
	PropPayloadFormat: typeByte, PropMessageExpiry: typeU32, PropContentType: typeText,
	PropResponseTopic: typeText, PropCorrelationData: typeBinary, PropSubscriptionID: typeVarint,
	PropSessionExpiry: typeU32, PropAssignedClientID: typeText, PropServerKeepAlive: typeU16,
	PropAuthMethod: typeText, PropAuthData: typeBinary, PropRequestProblem: typeByte,
	PropWillDelay: typeU32, PropRequestResponse: typeByte, PropResponseInfo: typeText,
	PropServerReference: typeText, PropReasonString: typeText, PropReceiveMaximum: typeU16,
	PropTopicAliasMaximum: typeU16, PropTopicAlias: typeU16, PropMaximumQoS: typeByte,
	PropRetainAvailable: typeByte, PropUser: typePair, PropMaximumPacketSize: typeU32,
	PropWildcardAvailable: typeByte, PropSubIDAvailable: typeByte, PropSharedSubAvailable: typeByte,
}

// propSet is a set of property identifiers, one bit each.
type propSet uint64

func props(ids ...byte) propSet {
	var s propSet
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

func (s propSet) has(id byte) bool { return id < 64 && s>>id&1 != 0 }

// Which properties a client may send with which packet. A client's PUBLISH must
// not carry a subscription identifier; it is let in here to get its own fault.
var (
	publishProps = props(PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic,
		PropCorrelationData, PropTopicAlias, PropUser, PropSubscriptionID)
	willProps = props(PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic,
		PropCorrelationData, PropWillDelay, PropUser)
	connectProps = props(PropSessionExpiry, PropAuthMethod, PropAuthData, PropRequestProblem,
		PropRequestResponse, PropReceiveMaximum, PropTopicAliasMaximum, PropMaximumPacketSize, PropUser)
	ackProps         = props(PropReasonString, PropUser)
	subscribeProps   = props(PropSubscriptionID, PropUser)
	unsubscribeProps = props(PropUser)
	disconnectProps  = props(PropSessionExpiry, PropReasonString, PropServerReference, PropUser)
	authProps        = props(PropAuthMethod, PropAuthData, PropReasonString, PropUser)
)

// scanner walks over a property section whose length prefix is already off.
type scanner struct {
	cursor
	allowed propSet
	seen    propSet

	id         byte
	num        uint32 // value of the integer types
	text, pair []byte // value of text and binary; name and value of a pair
}

// section cuts the property section, with its length prefix, off the front of c.
func (c *cursor) section(allowed propSet) (scanner, *Fault) {
	raw := c.take(c.varint())
	if c.short {
		return scanner{}, malformed("2.2.2.1", "property section is cut off")
	}
	return scanner{cursor: cursor{b: raw}, allowed: allowed}, nil
}

// next reads one property. It reports false at the end of the section or at a fault.
func (s *scanner) next() (bool, *Fault) {
	if len(s.b) == 0 {
		return false, nil
	}
	s.id = s.u8()
	if !s.allowed.has(s.id) {
		return false, malformed("2.2.2.2", "property is unknown or does not belong to this packet")
	}
	if s.id != PropUser && s.seen.has(s.id) {
		return false, violation("2.2.2.2", "property occurs twice")
	}
	s.seen |= 1 << s.id
	return true, s.value()
}

func (s *scanner) value() *Fault {
	switch propTypes[s.id] {
	case typeByte:
		if s.num = uint32(s.u8()); s.num > 1 {
			return violation("2.2.2.2", "property is neither 0 nor 1")
		}
	case typeU16:
		s.num = uint32(s.u16())
	case typeU32:
		s.num = s.u32()
	case typeVarint:
		s.num = uint32(s.varint())
	case typeBinary:
		s.text = s.field()
	case typeText:
		s.text = s.field()
		if f := textFault(s.text); f != nil {
			return f
		}
	case typePair:
		s.text, s.pair = s.field(), s.field()
		if f := textFault(s.text); f != nil {
			return f
		}
		if f := textFault(s.pair); f != nil {
			return f
		}
	}
	if s.short {
		return malformed("2.2.2", "property value is cut off")
	}
	return nil
}

// drain checks the properties that nobody wants to know.
func (s *scanner) drain() *Fault {
	for {
		more, f := s.next()
		if !more || f != nil {
			return f
		}
		if s.id == PropSubscriptionID && s.num == 0 {
			return violation("3.8.2.1.2", "subscription identifier is 0")
		}
	}
}

// Properties are those of one message: of a PUBLISH or of a will. Byte slices
// are views into the packet. The zero value has none.
type Properties struct {
	PayloadFormat   byte   // 1: the payload is UTF-8 text
	Expiry          uint32 // seconds
	TopicAlias      uint16 // PUBLISH only, never 0 when set
	Delay           uint32 // will only, seconds
	ContentType     []byte
	ResponseTopic   []byte
	CorrelationData []byte
	Raw             []byte // the whole section without its length prefix

	set propSet
}

// Has tells whether the property was sent, be it with an empty or zero value.
func (p *Properties) Has(id byte) bool { return p.set.has(id) }

// User ranges over the user properties, name and value, in the order sent.
func (p *Properties) User() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		if !p.set.has(PropUser) {
			return
		}
		s := scanner{cursor: cursor{b: p.Raw}, allowed: ^propSet(0)}
		for {
			// Repeats cannot occur: read has vetted the section.
			if more, f := s.next(); !more || f != nil {
				return
			}
			if s.id == PropUser && !yield(s.text, s.pair) {
				return
			}
		}
	}
}

// read takes the property section off the front of c.
func (p *Properties) read(c *cursor, allowed propSet) *Fault {
	s, f := c.section(allowed)
	if f != nil {
		return f
	}
	p.Raw = s.b
	for {
		more, f := s.next()
		if f != nil {
			return f
		}
		if !more {
			p.set = s.seen
			return nil
		}
		if f := p.keep(&s); f != nil {
			return f
		}
	}
}

func (p *Properties) keep(s *scanner) *Fault {
	switch s.id {
	case PropPayloadFormat:
		p.PayloadFormat = byte(s.num)
	case PropMessageExpiry:
		p.Expiry = s.num
	case PropWillDelay:
		p.Delay = s.num
	case PropContentType:
		p.ContentType = s.text
	case PropCorrelationData:
		p.CorrelationData = s.text
	case PropResponseTopic:
		p.ResponseTopic = s.text
		if hasWildcard(s.text) {
			return violation("MQTT-3.3.2-14", "response topic contains a wildcard")
		}
	case PropTopicAlias:
		if p.TopicAlias = uint16(s.num); s.num == 0 {
			return refusal(TopicAliasInvalid, "MQTT-3.3.2-8", "topic alias is 0")
		}
	case PropSubscriptionID:
		return violation("MQTT-3.3.4-6", "PUBLISH of a client carries a subscription identifier")
	}
	return nil
}
