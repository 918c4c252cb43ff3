package client

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// Status is what a hub says of itself.
type Status struct {
	Device  string    `json:"device"`
	Version string    `json:"version"`
	Epoch   string    `json:"epoch"` // one life of the store
	Started time.Time `json:"started"`
	Uplink  *Uplink   `json:"uplink,omitempty"` // absent without a parent
	Rules   Rules     `json:"rules"`
	Store   Store     `json:"store"`
	Broker  Broker    `json:"broker"`
}

// Uplink is the session with the parent.
type Uplink struct {
	State      string    `json:"state"` // connected, connecting, down, cut
	Address    string    `json:"address,omitempty"`
	Since      time.Time `json:"since"`
	LastError  string    `json:"last_error,omitempty"`
	InFlight   int       `json:"in_flight"`
	Sent       uint64    `json:"sent"`
	Reconnects uint64    `json:"reconnects"`
}

// Rules is the state of the rule files.
type Rules struct {
	Active int       `json:"active"`           // rules in force
	Loaded time.Time `json:"loaded"`           // when they came into force
	Errors []string  `json:"errors,omitempty"` // why newer files are not in force
}

// Store is the state of the disk.
type Store struct {
	QueuedBytes int64  `json:"queued_bytes"`
	DiskBytes   int64  `json:"disk_bytes"`
	DiskFull    bool   `json:"disk_full"` // messages are refused until there is room
	Commits     uint64 `json:"commits"`
}

// Broker is the state of the MQTT side.
type Broker struct {
	Connections int64  `json:"connections"`
	Accepted    uint64 `json:"accepted"`
	Delivered   uint64 `json:"delivered"`
	Refused     uint64 `json:"refused"` // publishes refused
	Malformed   uint64 `json:"malformed"`
	Dropped     uint64 `json:"dropped"` // live copies for subscribers that did not read
}

// Figures add up: accepted = delivered + queued + expired + dropped + buried.
type Figures struct {
	Accepted         uint64            `json:"accepted"`
	Delivered        uint64            `json:"delivered"`
	Queued           uint64            `json:"queued"`
	Expired          uint64            `json:"expired"`
	Dropped          map[string]uint64 `json:"dropped"`
	Buried           uint64            `json:"buried"`
	Rate             float64           `json:"rate"`
	Balanced         bool              `json:"balanced"`
	OldestAgeSeconds float64           `json:"oldest_age_seconds"`
}

// DroppedTotal is the sum over all reasons.
func (f *Figures) DroppedTotal() (n uint64) {
	for _, d := range f.Dropped {
		n += d
	}
	return n
}

// Entry is one rule's account in one queue.
type Entry struct {
	Rule  string `json:"rule"`
	Queue string `json:"queue"`
	Figures
}

// Ledger is the state of all accounts at one moment.
type Ledger struct {
	Entries    []Entry `json:"entries"`
	Total      Figures `json:"total"`
	Received   uint64  `json:"received"`
	NoRoute    uint64  `json:"no_route"`
	Duplicates uint64  `json:"duplicates"`
	Refused    uint64  `json:"refused"`
}

// Sequences says what became of a queue's sequences: those from First to Last
// were given, those in Waiting… are still there, those in Exceptions left the
// queue undelivered; all others were delivered.
type Sequences struct {
	Epoch      string      `json:"epoch"`
	Next       uint64      `json:"next"`  // the next sequence to be given
	Floor      uint64      `json:"floor"` // the lowest that is not settled
	Queued     uint64      `json:"queued"`
	Exceptions []Exception `json:"exceptions"`
}

// Exception is a run of sequences that were not delivered.
type Exception struct {
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Count  uint64 `json:"count"`
	Reason string `json:"reason"`
}

// Message is a waiting message or a dead letter.
type Message struct {
	Seq        uint64            `json:"seq"`
	Rule       string            `json:"rule"`
	Priority   uint8             `json:"priority"`
	Device     string            `json:"device,omitempty"`
	Module     string            `json:"module,omitempty"`
	Output     string            `json:"output,omitempty"`
	Topic      string            `json:"topic,omitempty"`
	System     map[string]string `json:"system,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
	Accepted   time.Time         `json:"accepted"`
	Expires    *time.Time        `json:"expires,omitempty"`
	Cause      string            `json:"cause,omitempty"`  // dead letters
	Buried     *time.Time        `json:"buried,omitempty"` // dead letters
	Body       json.RawMessage   `json:"body,omitempty"`   // a JSON body as it is, other text as a string
	BodyBase64 []byte            `json:"body_base64,omitempty"`
}

// SetBody puts a body where its kind belongs.
func (m *Message) SetBody(b []byte) {
	switch {
	case json.Valid(b):
		m.Body = b
	case utf8.Valid(b):
		m.Body, _ = json.Marshal(string(b)) // valid UTF-8 always encodes
	default:
		m.BodyBase64 = b
	}
}

// Count answers requests that change a number of messages.
type Count struct {
	Messages int `json:"messages"`
}

// Problem is the body of every error (RFC 9457).
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}
