package cloudhub

import (
	"time"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/identity"
)

// Config of a hub. The zero value of a field means the default named with it.
type Config struct {
	State     string // folder of everything the hub keeps; created if absent
	API       string // host:port of the HTTP API; 127.0.0.1:8080
	TokenFile string // who reads it may use the API; made if absent; api.token in State
	NATS      NATS
	Stream    stream.Config

	WaitingBytes int           // what may wait for the stream unacknowledged; 64 MiB
	IDWindow     time.Duration // how long a device's own message id is recognised; 10 minutes

	Broker  broker.Config
	Guard   identity.Config
	Devices []identity.Device // registered at start unless known
}

// NATS is where the stream lives.
type NATS struct {
	// URL names an external cluster; empty: a server embedded in this process.
	// Its account must have JetStream, the cluster sync_interval: always.
	URL            string
	Credentials    string // a NATS credentials file for URL
	User, Password string // or these

	// Of the embedded server:
	Dir        string // JetStream's files; nats in State
	Listen     string // host:port for other NATS clients; "": this process only
	Relaxed    bool   // sync now and then only; see stream.ServerConfig
	MaxPayload int    // bytes of one message with its headers; 4 MiB
	MaxStore   int64  // bytes of all streams; three quarters of the disk
}

func (c *Config) defaults() {
	if c.API == "" {
		c.API = "127.0.0.1:8080"
	}
}
