// Package message defines what flows through Penstock: the Message a client
// published, the Batch in which messages are accepted, and the Delivery in
// which one message leaves a queue.
//
// The package is pure: it does no I/O, starts no goroutine and imports nothing
// of the project. A Message is built once, by whoever decodes the packet, and
// is read-only from the moment it is handed to an Acceptor; strings and byte
// slices of one batch may share one backing array.
package message

import "time"

// Kind says which world a message came from; rules match on it.
type Kind uint8

const (
	// Telemetry was published in the IoT Hub dialect: a device's events or a
	// module's output. Device is set; Module and Output may be.
	Telemetry Kind = iota
	// Plain was published on an ordinary MQTT topic. Topic is set, Device and
	// Module name the identity that published it (empty for anonymous clients).
	Plain
	// TwinChange reports that a twin changed; its body is the change.
	TwinChange
)

// Names of system properties, in the form IoT Edge conditions use after `$`.
// Lookups are without case. Their wire names live in package iothub.
const (
	SysMessageID       = "messageId"
	SysCorrelationID   = "correlationId"
	SysUserID          = "userId"
	SysTo              = "to"
	SysContentType     = "contentType"
	SysContentEncoding = "contentEncoding"
	SysCreationTime    = "creationTime"
	SysExpiry          = "absolute-expiry-time"
	SysSchema          = "messageSchema"
	SysMessageType     = "messageType"
	SysInterfaceID     = "iothub-interface-id"
	SysSubject         = "dt-subject"

	// MQTT 5 publish properties that have no IoT Hub name.
	SysResponseTopic   = "responseTopic"
	SysCorrelationData = "correlationData" // binary
	SysPayloadFormat   = "payloadFormat"   // "1": the body is UTF-8 text
)

// Property is one name and value. Order is kept, names may repeat (MQTT 5 user
// properties may). Null is the bare name of a property bag (`name` without
// `=`): the property is there and its value is null.
type Property struct {
	Name, Value string
	Null        bool
}

// Origin identifies a message across hops: the sequence that the hub which
// first stored it for its parent gave it. The zero Origin means "first hop".
type Origin struct {
	Device string // the edge device whose hub counted
	Epoch  string // identifies one life of that hub's store
	Seq    uint64 // from 1, unique within Device and Epoch
	Floor  uint64 // no sequence below Floor will be sent again
}

// Target asks that a message be placed in one queue.
type Target struct {
	Queue    string
	Rule     string // the ledger account: the rule's name
	Priority uint8  // 0 first … 9; PriorityNone ranks below all
	Expires  int64  // Unix milliseconds; 0: never
	Meta     []byte // the consumer's own bytes, returned with the Delivery
}

// PriorityNone is the rank of a rule that states no priority: after all others.
const PriorityNone uint8 = 10

// Message is one accepted publication.
type Message struct {
	Kind   Kind
	QoS    byte
	Retain bool // the RETAIN flag as published

	Device string // publisher's device id
	Module string // publisher's module id, empty for a device
	Output string // module output name
	Topic  string // topic name of a Plain message, empty otherwise

	System     []Property // system properties by their Sys… names
	Properties []Property // application (user) properties
	Body       []byte

	Accepted int64 // Unix milliseconds at which this hub read it
	Expires  int64 // Unix milliseconds from the publisher; 0: never

	Origin Origin

	// Sessions are the queues of persistent sessions whose subscriptions match.
	// The broker fills them in; they are not part of the encoded message.
	Sessions []Target
}

// Sys returns the system property called name (without case) and whether it is there.
func (m *Message) Sys(name string) (Property, bool) { return find(m.System, name, true) }

// Prop returns the first application property called exactly name and whether it is there.
func (m *Message) Prop(name string) (Property, bool) { return find(m.Properties, name, false) }

// ID returns the message id that the publisher gave, or "".
func (m *Message) ID() string {
	p, _ := find(m.System, SysMessageID, true)
	return p.Value
}

// Size is what quotas and size limits count: body plus property names and
// values (contract 1.1, Ingest), in bytes.
func (m *Message) Size() int {
	n := len(m.Body) + len(m.Topic)
	for _, p := range m.System {
		n += len(p.Name) + len(p.Value)
	}
	for _, p := range m.Properties {
		n += len(p.Name) + len(p.Value)
	}
	return n
}

// AcceptedAt returns Accepted as a time.
func (m *Message) AcceptedAt() time.Time { return time.UnixMilli(m.Accepted) }

// Batch is a run of messages from one sender that becomes durable together.
type Batch struct {
	Messages []Message
	// Records, if set, is asked once, within Accept, when it is known which
	// messages cannot be stored, for the records to write in the commit of the
	// others: a packet id of QoS 2, for example, is remembered exactly when its
	// message is. refused is nil when none is refused, otherwise refused[i] says why
	// Messages[i] is. A batch that is refused whole is not asked.
	Records func(refused []error) []Record
	// Local batches are already routed: rules do not see them, only the
	// Sessions and Records of their messages apply. So a rule's output on a local
	// topic cannot start a loop.
	Local bool
	// Done is called exactly once, after the commit or its failure, from a
	// goroutine that serves everybody: it must not block. errs is nil when every
	// message was accepted, otherwise errs[i] tells what became of Messages[i]
	// (nil: accepted). Batches of one sender complete in the order of their Accept.
	Done func(b *Batch, errs []error)
}

// Record is one small durable value outside the queues. A nil Value deletes.
type Record struct {
	Bucket string
	Key    string
	Value  []byte
}

// Delivery is one message leased from a queue.
type Delivery struct {
	Message
	Seq      uint64 // position in the queue, from 1; unique in the queue's life
	Rule     string
	Priority uint8
	Expire   int64  // Unix milliseconds after which it must not be delivered; 0: never
	Attempt  int    // 1 for the first delivery of this process's life
	Meta     []byte // as given in Target
}

// Outcome says how a leased message left its queue.
type Outcome uint8

const (
	Delivered Outcome = iota // the consumer has it and said so
	Expired                  // its time to live ended first
	Dropped                  // given up on purpose; the cause says which policy
	Buried                   // moved to the queue's dead letters with its cause
)

func (o Outcome) String() string {
	switch o {
	case Delivered:
		return "delivered"
	case Expired:
		return "expired"
	case Dropped:
		return "dropped"
	case Buried:
		return "buried"
	}
	return "unknown"
}

func find(ps []Property, name string, fold bool) (Property, bool) {
	for _, p := range ps {
		if p.Name == name || fold && len(p.Name) == len(name) && equalFoldASCII(p.Name, name) {
			return p, true
		}
	}
	return Property{}, false
}

func equalFoldASCII(a, b string) bool {
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}
