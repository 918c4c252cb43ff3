// Package mqtttest is a raw MQTT 3.1.1 and 5.0 client for tests.
//
// It does what a test says and nothing else: no keep alive, no reconnect, no
// goroutine, no acknowledgement that was not asked for, and any bytes at all can
// be sent. Every read and write ends at a deadline (5 s unless told), so a test
// fails with a sentence instead of hanging. What the server sends is decoded
// strictly; a packet that does not fit the specification fails the test.
//
// Its encoding shares nothing with package wire, so that one checks the other.
//
// A Client belongs to one goroutine. Methods without an error result stop the
// test when they fail and must run on the test's goroutine; Read, Write, Round
// and Pipeline return errors and may run on any.
package mqtttest

// Protocol versions.
const (
	V311 byte = 4
	V5   byte = 5
)

// Control packet types.
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

var typeNames = [16]string{"type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// Property identifiers.
const (
	PayloadFormat     byte = 1
	MessageExpiry     byte = 2
	ContentType       byte = 3
	ResponseTopic     byte = 8
	CorrelationData   byte = 9
	SubscriptionID    byte = 11
	SessionExpiry     byte = 17
	AssignedClientID  byte = 18
	ServerKeepAlive   byte = 19
	AuthMethod        byte = 21
	AuthData          byte = 22
	RequestProblem    byte = 23
	WillDelay         byte = 24
	RequestResponse   byte = 25
	ResponseInfo      byte = 26
	ServerReference   byte = 28
	ReasonString      byte = 31
	ReceiveMaximum    byte = 33
	TopicAliasMaximum byte = 34
	TopicAlias        byte = 35
	MaximumQoS        byte = 36
	RetainAvailable   byte = 37
	UserProperty      byte = 38
	MaximumPacketSize byte = 39
	WildcardAvailable byte = 40
	SubIDAvailable    byte = 41
	SharedAvailable   byte = 42
)
