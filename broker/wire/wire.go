// Package wire is the byte side of MQTT 3.1.1 and 5.0 as a server sees it: it
// frames, vets, decodes and encodes control packets.
//
// Frame finds the first packet in a read buffer. DecodeConnect, DecodePublish,
// DecodeAck and DecodeDisconnect check a packet completely and take it apart;
// Vet checks any packet and tells only whether it is legal. What passes is safe
// for any decoder behind: no field is missing, cut off, repeated or out of range.
//
// Every function is pure and safe for concurrent use. Nothing here does I/O,
// keeps state between calls (Aliases excepted, which says so), starts a
// goroutine, or reads outside the packet it was given; no input panics. The
// paths of PUBLISH and of acknowledgements allocate nothing unless they refuse.
// Decoded byte slices are views into the packet unless said otherwise.
//
// Rules that depend on a connection's history are the caller's: which packet
// ids are in use, how many messages are in flight, whether CONNECT came first.
package wire

// Protocol levels of CONNECT, called versions throughout this package.
const (
	V311 byte = 4 // MQTT 3.1.1
	V5   byte = 5 // MQTT 5.0
)

// Control packet types: the upper four bits of a packet's first byte.
const (
	CONNECT     byte = 1
	CONNACK     byte = 2
	PUBLISH     byte = 3
	PUBACK      byte = 4
	PUBREC      byte = 5
	PUBREL      byte = 6
	PUBCOMP     byte = 7
	SUBSCRIBE   byte = 8
	SUBACK      byte = 9
	UNSUBSCRIBE byte = 10
	UNSUBACK    byte = 11
	PINGREQ     byte = 12
	PINGRESP    byte = 13
	DISCONNECT  byte = 14
	AUTH        byte = 15
)

// MaxRemaining is the largest remaining length that the fixed header can state, in bytes.
const MaxRemaining = 268_435_455

// Reason codes of MQTT 5.0 (section 2.4).
const (
	Success                byte = 0x00
	DisconnectWithWill     byte = 0x04
	NoMatchingSubscribers  byte = 0x10
	NoSubscriptionExisted  byte = 0x11
	ContinueAuthentication byte = 0x18
	ReAuthenticate         byte = 0x19
	UnspecifiedError       byte = 0x80
	MalformedPacket        byte = 0x81
	ProtocolError          byte = 0x82
	ImplementationError    byte = 0x83
	UnsupportedVersion     byte = 0x84
	InvalidClientID        byte = 0x85
	BadCredentials         byte = 0x86
	NotAuthorized          byte = 0x87
	ServerUnavailable      byte = 0x88
	ServerBusy             byte = 0x89
	Banned                 byte = 0x8a
	ServerShuttingDown     byte = 0x8b
	BadAuthMethod          byte = 0x8c
	KeepAliveTimeout       byte = 0x8d
	SessionTakenOver       byte = 0x8e
	TopicFilterInvalid     byte = 0x8f
	TopicNameInvalid       byte = 0x90
	PacketIDInUse          byte = 0x91
	PacketIDNotFound       byte = 0x92
	ReceiveMaxExceeded     byte = 0x93
	TopicAliasInvalid      byte = 0x94
	PacketTooLarge         byte = 0x95
	MessageRateTooHigh     byte = 0x96
	QuotaExceeded          byte = 0x97
	AdministrativeAction   byte = 0x98
	PayloadFormatInvalid   byte = 0x99
)

// Return codes of a 3.1.1 CONNACK (3.1.1 section 3.2.2.3).
const (
	ConnackVersion      byte = 1 // unacceptable protocol version
	ConnackClientID     byte = 2 // identifier rejected
	ConnackUnavailable  byte = 3 // server unavailable
	ConnackCredentials  byte = 4 // bad user name or password
	ConnackUnauthorized byte = 5 // not authorized
)

// Type returns the control packet type of a packet, 0 for an empty one.
func Type(packet []byte) byte {
	if len(packet) == 0 {
		return 0
	}
	return packet[0] >> 4
}
