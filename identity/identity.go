// Package identity knows who a client is and what it may do: devices and modules
// with SAS tokens or X.509 certificates, users with passwords, and the topics
// each may publish and subscribe to.
//
// It promises that a device and a module act only in their own name, that an edge
// device speaks for nobody but its children, and that whatever is not granted is
// refused. Credentials are compared in constant time; no error and no log line
// holds a secret. It does no I/O. A Guard and a Static may be used by any number
// of goroutines; the memory they hold does not grow with attempts to log in.
package identity

import (
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"time"
)

// Connect is what a client presented in its CONNECT packet and on its connection.
type Connect struct {
	ClientID string
	Username string
	Password []byte
	// Certificates is the client's chain, leaf first; nil without a certificate.
	// The TLS layer has proved that the client holds the leaf's key.
	Certificates []*x509.Certificate
	// VerifiedChains is what the listener's own CA file vouched for, if it has one.
	VerifiedChains [][]*x509.Certificate
	Listener       string // its name in the configuration
	Remote         net.Addr
	Loopback       bool // the client is on this machine
}

// Methods by which a Principal proved itself.
const (
	MethodSAS       = "sas"
	MethodX509      = "x509"
	MethodPassword  = "password"
	MethodAnonymous = "anonymous"
)

// Principal is a client that was let in. It does not change afterwards.
type Principal struct {
	Device   string // empty for a user or an anonymous client
	Module   string // empty for a device
	User     string // set for Method password
	ClientID string
	Method   string
	Expires  time.Time // end of the SAS token or the certificate; zero: none
	Dialect  bool      // named itself in the IoT Hub form
	Edge     bool      // may publish for its children

	subscriptions []string // filters of the dialect it owns
	grants        []grant  // from the access rules
}

// Name identifies the principal in logs: device, device/module, or the user.
func (p *Principal) Name() string {
	switch {
	case p.Module != "":
		return p.Device + "/" + p.Module
	case p.Device != "":
		return p.Device
	case p.User != "":
		return p.User
	}
	return MethodAnonymous
}

// Action is what a client wants to do with a topic.
type Action uint8

const (
	Publish   Action = 1 << iota // the topic is a topic name
	Subscribe                    // the topic is a filter, $share/{group}/ included
)

func (a Action) String() string {
	if a == Subscribe {
		return "subscribe"
	}
	return "publish"
}

// Device is a registered device. Only the credentials that are set are accepted.
type Device struct {
	ID           string   `yaml:"id"`
	Key          Secret   `yaml:"key"`           // base64, primary
	SecondaryKey Secret   `yaml:"secondary_key"` // base64; both are valid while keys are rotated
	Thumbprints  []string `yaml:"thumbprints"`   // SHA-1 or SHA-256 of accepted certificates, hex
	CA           bool     `yaml:"ca"`            // a certificate of a registered CA with the id as common name will do
	Edge         bool     `yaml:"edge"`          // may have children and system modules
	Parent       string   `yaml:"parent"`        // the edge device through which it may come
	Disabled     bool     `yaml:"disabled"`
	Groups       []string `yaml:"groups"` // for access rules
	Modules      []Module `yaml:"modules"`
}

// Module is a registered module of a device. Its device's keys are accepted, too.
type Module struct {
	ID           string   `yaml:"id"`
	Key          Secret   `yaml:"key"`
	SecondaryKey Secret   `yaml:"secondary_key"`
	Thumbprints  []string `yaml:"thumbprints"`
}

// User is a plain MQTT client that logs in with a name and a password.
type User struct {
	Name         string   `yaml:"name"`
	PasswordHash Secret   `yaml:"password_hash"` // as HashPassword makes it
	Device       string   `yaml:"device"`        // optional: the device it is
	Groups       []string `yaml:"groups"`        // for access rules
}

// Secret is text that prints, logs and marshals as "[redacted]".
type Secret string

const redacted = "[redacted]"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from showing the secret.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps slog from showing the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON keeps encoding/json from showing the secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText keeps other encoders, YAML's among them, from showing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as it is.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = Secret(b)
	return nil
}
