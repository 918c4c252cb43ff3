package configs

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-io/penstock/identity"
)

// Listener is one address on which a hub takes MQTT clients.
type Listener struct {
	Name           string `yaml:"name"`
	Type           string `yaml:"type"`    // tcp, tls, ws, wss
	Address        string `yaml:"address"` // host:port; an empty host means all interfaces
	CertFile       string `yaml:"cert_file"`
	KeyFile        string `yaml:"key_file"`
	ClientCAFile   string `yaml:"client_ca_file"` // authorities of client certificates
	AllowAnonymous bool   `yaml:"allow_anonymous"`
}

// Auth says who may come in, and which plain topics each may use.
type Auth struct {
	Hosts   []string          `yaml:"hosts"` // further host names accepted in SAS tokens
	Devices []identity.Device `yaml:"devices"`
	Users   []identity.User   `yaml:"users"`
	ACL     []identity.Rule   `yaml:"acl"`
}

// Broker bounds what clients may do.
type Broker struct {
	MaxPacketSize     Bytes    `yaml:"max_packet_size"`
	ReceiveMaximum    int      `yaml:"receive_maximum"` // unacknowledged publishes a client may have
	MaxConnections    int      `yaml:"max_connections"`
	SessionExpiryMax  Duration `yaml:"session_expiry_max"`
	KeepAliveMax      Duration `yaml:"keep_alive_max"`      // 0: no bound
	InflightWindow    int      `yaml:"inflight_window"`     // unacknowledged deliveries to one client
	SessionQueueBytes Bytes    `yaml:"session_queue_bytes"` // memory of one session's undelivered messages
}

// Log says how a hub writes its log, which goes to standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

func defaultBroker() Broker {
	return Broker{
		MaxPacketSize: 320 << 10, ReceiveMaximum: 1024, MaxConnections: 10_000, SessionExpiryMax: Duration(30 * day),
		InflightWindow: 1024, SessionQueueBytes: 8 << 20,
	}
}

func defaultLog() Log { return Log{Level: "info", Format: "text"} }

// TLS reports whether clients of the listener use TLS.
func (l *Listener) TLS() bool { return l.Type == "tls" || l.Type == "wss" }

// Anonymous returns the names of the listeners that allow anonymous clients.
func Anonymous(ls []Listener) (names []string) {
	for _, l := range ls {
		if l.AllowAnonymous {
			names = append(names, l.Name)
		}
	}
	return names
}

func fillListeners(ls []Listener, dir string) {
	for i := range ls {
		l := &ls[i]
		if l.Type == "" {
			l.Type = "tcp"
		}
		if l.Name == "" {
			l.Name = l.Type
		}
		absolute(dir, &l.CertFile, &l.KeyFile, &l.ClientCAFile)
	}
}

func checkListeners(r *report, ls []Listener) {
	seen := map[string]bool{}
	for i := range ls {
		l, key := &ls[i], fmt.Sprintf("listeners[%d]", i)
		if seen[l.Name] {
			r.add(key, "a second listener called %q", l.Name)
		}
		seen[l.Name] = true
		r.oneOf(key+".type", l.Type, "tcp", "tls", "ws", "wss")
		if checkAddress(r, key+".address", l.Address) && l.AllowAnonymous && !isLoopback(l.Address) {
			r.add(key+".allow_anonymous", "anonymous clients are for this machine only, and %s is not its loopback address", l.Address)
		}
		certified := l.CertFile != "" && l.KeyFile != ""
		if l.TLS() && !certified {
			r.add(key, "type %s needs cert_file and key_file", l.Type)
		}
		if !l.TLS() && l.CertFile+l.KeyFile+l.ClientCAFile != "" {
			r.add(key, "certificates on a listener of type %s, want tls or wss", l.Type)
		}
	}
}

func checkAddress(r *report, key, address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		r.add(key, "%q, want host:port", address)
		return false
	}
	return true
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (a *Auth) check(r *report, key string) {
	seen := map[string]bool{}
	for i := range a.Devices {
		d, at := &a.Devices[i], fmt.Sprintf("%s.devices[%d]", key, i)
		if err := d.Validate(); err != nil {
			r.add(at, "%v", err)
		}
		if seen[d.ID] {
			r.add(at, "device %s is listed twice", d.ID)
		}
		seen[d.ID] = true
	}
	for i := range a.Users {
		if err := a.Users[i].Validate(); err != nil {
			r.add(fmt.Sprintf("%s.users[%d]", key, i), "%v", err)
		}
	}
	for i := range a.ACL {
		if err := a.ACL[i].Validate(); err != nil {
			r.add(fmt.Sprintf("%s.acl[%d]", key, i), "%v", err)
		}
	}
}

func (b *Broker) check(r *report) {
	r.within("broker.max_packet_size", int64(b.MaxPacketSize), 1<<10, 256<<20)
	r.within("broker.receive_maximum", int64(b.ReceiveMaximum), 1, 65535)
	r.within("broker.max_connections", int64(b.MaxConnections), 1, 0)
	r.within("broker.inflight_window", int64(b.InflightWindow), 1, 32767)
	r.within("broker.session_queue_bytes", int64(b.SessionQueueBytes), 64<<10, 0)
}

func (l *Log) check(r *report) {
	r.oneOf("log.level", l.Level, "debug", "info", "warn", "error")
	r.oneOf("log.format", l.Format, "text", "json")
}

// absolute makes file names absolute that are set; a configuration speaks from
// where it lies.
func absolute(dir string, names ...*string) {
	for _, n := range names {
		if *n != "" && !filepath.IsAbs(*n) {
			*n = filepath.Join(dir, *n)
		}
	}
}

// ReadSecret returns inline, or else what file holds without surrounding space.
func ReadSecret(inline identity.Secret, file string) (identity.Secret, error) {
	if inline != "" || file == "" {
		return inline, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return identity.Secret(strings.TrimSpace(string(b))), nil
}
