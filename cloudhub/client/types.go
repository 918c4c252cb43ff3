package client

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// Device is a registered device. Keys are base64; the API shows them only when
// asked to.
type Device struct {
	ID           string   `json:"id"`
	Key          string   `json:"key,omitempty"`
	SecondaryKey string   `json:"secondary_key,omitempty"`
	Thumbprints  []string `json:"thumbprints,omitempty"` // of accepted certificates, hex
	CA           bool     `json:"ca,omitempty"`          // a certificate of a registered CA will do
	Edge         bool     `json:"edge,omitempty"`        // may have children
	Parent       string   `json:"parent,omitempty"`
	Status       string   `json:"status,omitempty"` // enabled (default) or disabled
	Groups       []string `json:"groups,omitempty"`
	Modules      []Module `json:"modules,omitempty"`
}

// Module is a module of a device.
type Module struct {
	ID           string   `json:"id"`
	Key          string   `json:"key,omitempty"`
	SecondaryKey string   `json:"secondary_key,omitempty"`
	Thumbprints  []string `json:"thumbprints,omitempty"`
}

// Values of Device.Status.
const (
	Enabled  = "enabled"
	Disabled = "disabled"
)

// Property is one name and value; a nil Value is null. Names may repeat.
type Property struct {
	Name  string  `json:"name"`
	Value *string `json:"value"`
}

// Origin says which edge hub counted the message, in which life of its store.
type Origin struct {
	Device string `json:"device"`
	Epoch  string `json:"epoch"`
	Seq    uint64 `json:"seq"`
}

// Values of Message.Encoding.
const (
	EncodingJSON   = "json"   // Body is the payload itself
	EncodingText   = "text"   // Body is a JSON string holding the payload
	EncodingBase64 = "base64" // Body is a JSON string holding the payload in base64
)

// Message is one message of the stream.
type Message struct {
	Seq        uint64          `json:"seq"`      // in the stream
	Received   time.Time       `json:"received"` // when the stream stored it
	Subject    string          `json:"subject"`
	Kind       string          `json:"kind"` // telemetry, plain or twin-change
	Device     string          `json:"device"`
	Module     string          `json:"module,omitempty"`
	Output     string          `json:"output,omitempty"`
	Topic      string          `json:"topic,omitempty"`
	Accepted   time.Time       `json:"accepted"` // when the first hub accepted it
	Origin     *Origin         `json:"origin,omitempty"`
	System     []Property      `json:"system,omitempty"`
	Properties []Property      `json:"properties,omitempty"`
	Encoding   string          `json:"encoding"`
	Body       json.RawMessage `json:"body"`
}

// Payload returns the body's bytes as published. JSON bodies come without the
// white space between tokens that the API's own encoding removes.
func (m *Message) Payload() ([]byte, error) {
	if m.Encoding == EncodingJSON {
		return m.Body, nil
	}
	var s string
	if err := json.Unmarshal(m.Body, &s); err != nil {
		return nil, fmt.Errorf("read body of message %d: %w", m.Seq, err)
	}
	if m.Encoding == EncodingText {
		return []byte(s), nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("read body of message %d: %w", m.Seq, err)
	}
	return b, nil
}

// Range is the sequences From to To, both included.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// LedgerEntry is what the stream was given of one epoch of one edge device.
type LedgerEntry struct {
	Device     string `json:"device"`
	Epoch      string `json:"epoch"`
	Stored     uint64 `json:"stored"`     // messages stored, once each
	Duplicates uint64 `json:"duplicates"` // refused because already stored
	Floor      uint64 `json:"floor"`      // the edge sends nothing below it again
	// Restored counts messages refused, since the cloud started, because the
	// edge gave their sequences before: its store is a restored backup or a copy,
	// and needs edgehub -renew-epoch.
	Restored  uint64  `json:"restored,omitempty"`
	Collapsed uint64  `json:"collapsed"` // up to here only the number is known…
	Below     uint64  `json:"below"`     // …and this is it
	Ranges    []Range `json:"ranges"`    // above Collapsed, in order
	// More is the sequence from which the API lists ranges with the next page.
	// In what Client.Ledger returns it is 0: all are there.
	More uint64 `json:"more,omitempty"`
}

// Ledger is what came in.
type Ledger struct {
	Last             uint64        `json:"last"`              // stream sequence it covers
	Direct           uint64        `json:"direct"`            // stored without an origin
	DirectDuplicates uint64        `json:"direct_duplicates"` // refused by their message id
	Entries          []LedgerEntry `json:"entries"`           // by device, then epoch
}

// Status is the hub's health and size.
type Status struct {
	Ready   bool          `json:"ready"`
	Uptime  float64       `json:"uptime_seconds"`
	Devices int           `json:"devices"`
	Ingress IngressStatus `json:"ingress"`
	Stream  StreamStatus  `json:"stream"`
	Listen  Listening     `json:"listen"`
}

// IngressStatus tells whether messages are being taken.
type IngressStatus struct {
	Waiting      int        `json:"waiting"`         // batches
	WaitingBytes int        `json:"waiting_bytes"`   // of messages not acknowledged yet
	Fault        string     `json:"fault,omitempty"` // why nothing is acknowledged
	Since        *time.Time `json:"since,omitempty"` // of the fault
	// Restored names edge devices whose store counts sequences again; see
	// LedgerEntry. At most 16.
	Restored []string `json:"restored,omitempty"`
}

// StreamStatus is what the stream holds; zero when it does not answer.
type StreamStatus struct {
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// Listening is where the hub can be reached.
type Listening struct {
	API  string            `json:"api"`
	NATS string            `json:"nats,omitempty"` // empty with an external cluster
	MQTT map[string]string `json:"mqtt"`           // by listener name
}
