package uplink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/iothub"
)

// Config says who the parent is and how to talk to it. Zero values are replaced
// by the defaults named here; Addresses, Device, Epoch and Floor have none.
type Config struct {
	// Addresses of the parent, mqtt://, mqtts://, ws:// or wss://, in the order
	// of preference. A session stays where it is until it ends.
	Addresses []string
	// Host is the hub's name in the user name and in tokens (contract 2.1, 2.2);
	// by default the host part of the address in use.
	Host   string
	Device string
	// Key signs tokens, base64. Without it the client certificate must do.
	Key       identity.Secret
	TokenLife time.Duration // 1h; renewed when 80 % of it are over
	TLS       TLS

	// Epoch names this life of the store and Floor the sequence below which
	// nothing will be sent again: with the delivery's sequence they make the
	// origin by which the parent knows what it already has.
	Epoch string
	Floor func() uint64

	Window            int     // 256: unanswered deliveries, and packets in flight
	MaxMessage        int     // iothub.MaxMessage: bytes by message.Message.Size
	MessagesPerSecond float64 // 0: no limit
	BytesPerSecond    float64 // 0: no limit; counts packets, not what TLS adds

	ConnectTimeout time.Duration // 10s: name, TCP, TLS and CONNACK, per address
	KeepAlive      time.Duration // 30s; whole seconds
	PingTimeout    time.Duration // 10s: a parent that answers no ping for so long is gone
	WriteTimeout   time.Duration // 20s without progress
	AckTimeout     time.Duration // 2m without any acknowledgement while packets are in flight
	MinBackoff     time.Duration // 500ms
	MaxBackoff     time.Duration // 30s

	// Now is the wall clock that tokens are dated by. Nothing is scheduled by it.
	Now func() time.Time
}

// TLS names PEM files; they are read again for every connection, so renewed ones
// are taken without a restart.
type TLS struct {
	CAFile     string // empty: the system's
	CertFile   string // client certificate and its key, both or neither
	KeyFile    string
	ServerName string // empty: the address's host
}

const (
	drainTimeout = 5 * time.Second
	healthyAfter = 10 * time.Second
	maxWindow    = 32768 // packet ids end at 65535
)

func (c *Config) setDefaults() {
	setDefault(&c.TokenLife, time.Hour)
	setDefault(&c.Window, 256)
	setDefault(&c.MaxMessage, iothub.MaxMessage)
	setDefault(&c.ConnectTimeout, 10*time.Second)
	setDefault(&c.KeepAlive, 30*time.Second)
	setDefault(&c.PingTimeout, 10*time.Second)
	setDefault(&c.WriteTimeout, 20*time.Second)
	setDefault(&c.AckTimeout, 2*time.Minute)
	setDefault(&c.MinBackoff, 500*time.Millisecond)
	setDefault(&c.MaxBackoff, 30*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// parse checks c and returns its addresses, ports filled in.
func (c *Config) parse() ([]*url.URL, error) {
	switch {
	case len(c.Addresses) == 0:
		return nil, errors.New("no parent address")
	case !iothub.ValidID(c.Device):
		return nil, fmt.Errorf("device id %q is not valid", c.Device)
	case c.Epoch == "" || c.Floor == nil:
		return nil, errors.New("epoch and floor of the upstream queue are missing")
	case c.Window < 1 || c.Window > maxWindow:
		return nil, fmt.Errorf("window is %d, want 1 to %d", c.Window, maxWindow)
	case c.KeepAlive < time.Second || c.KeepAlive > 18*time.Hour:
		return nil, fmt.Errorf("keep alive is %v, want 1s to 18h", c.KeepAlive)
	case c.MessagesPerSecond < 0 || c.BytesPerSecond < 0:
		return nil, errors.New("a rate limit is negative")
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return nil, errors.New("client certificate and key come together")
	case c.Key == "" && c.TLS.CertFile == "":
		return nil, errors.New("neither a key nor a client certificate")
	}
	if c.Key != "" {
		if _, err := identity.SAS("check", c.Key, time.Unix(0, 0)); err != nil {
			return nil, err
		}
	}
	if _, err := c.TLS.load(); err != nil {
		return nil, err
	}
	us := make([]*url.URL, 0, len(c.Addresses))
	for _, a := range c.Addresses {
		u, err := parseAddress(a)
		if err != nil {
			return nil, err
		}
		us = append(us, u)
	}
	return us, nil
}

var defaultPorts = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// webSocketPath is where IoT Hub speaks MQTT over WebSocket (contract 2.1).
const webSocketPath = "/$iothub/websocket"

func parseAddress(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("parent address: %w", err)
	}
	port, ok := defaultPorts[u.Scheme]
	if !ok || u.Hostname() == "" || u.User != nil {
		return nil, fmt.Errorf("parent address %q: want mqtt://, mqtts://, ws:// or wss://, a host and perhaps a port", s)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	if u.Path == "" && (u.Scheme == "ws" || u.Scheme == "wss") {
		u.Path = webSocketPath
	}
	return u, nil
}

func (t *TLS) load() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read parent's CA: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read parent's CA: %s holds no PEM certificate", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}
