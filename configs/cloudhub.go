package configs

import (
	"net/url"
	"strings"

	"github.com/penstock-io/penstock/identity"
)

// CloudHub configures a cloudhub; cloudhub.yaml explains every key.
type CloudHub struct {
	Host      string     `yaml:"host"` // its name in SAS resources
	StateDir  string     `yaml:"state_dir"`
	Listeners []Listener `yaml:"listeners"`
	Auth      Auth       `yaml:"auth"`
	Broker    Broker     `yaml:"broker"`
	NATS      NATS       `yaml:"nats"`
	Stream    Stream     `yaml:"stream"`
	API       CloudAPI   `yaml:"api"`
	Log       Log        `yaml:"log"`
}

// NATS says where JetStream is: in this process, or at URL.
type NATS struct {
	URL             string          `yaml:"url"`
	CredentialsFile string          `yaml:"credentials_file"`
	User            string          `yaml:"user"`
	Password        identity.Secret `yaml:"password"`
	Embedded        EmbeddedNATS    `yaml:"embedded"`
}

// EmbeddedNATS configures the server inside this process.
type EmbeddedNATS struct {
	Address  string `yaml:"address"` // for consumers; empty: this process only
	StoreDir string `yaml:"store_dir"`
	Sync     string `yaml:"sync"` // always, interval
}

// Stream is the log of received messages.
type Stream struct {
	Name     string   `yaml:"name"`
	Subjects string   `yaml:"subjects"`  // prefix; the device's id follows
	MaxBytes Bytes    `yaml:"max_bytes"` // 0: no bound but the disk
	MaxAge   Duration `yaml:"max_age"`   // 0: for ever
	Replicas int      `yaml:"replicas"`
}

// CloudAPI is where edgectl and services talk to the cloud.
type CloudAPI struct {
	Listen    string `yaml:"listen"`
	TokenFile string `yaml:"token_file"` // who reads it may use the API
}

func defaultCloudHub() *CloudHub {
	return &CloudHub{
		Host: "localhost", StateDir: "state", Broker: defaultBroker(),
		NATS:   NATS{Embedded: EmbeddedNATS{Sync: "always"}},
		Stream: Stream{Name: "HUB_MESSAGES", Subjects: "hub.messages", Replicas: 1},
		API:    CloudAPI{Listen: "127.0.0.1:8080"},
		Log:    defaultLog(),
	}
}

func (c *CloudHub) fill(dir string) {
	if len(c.Listeners) == 0 {
		c.Listeners = []Listener{{Name: "local", Type: "tcp", Address: "127.0.0.1:1884"}}
	}
	fillListeners(c.Listeners, dir)
	absolute(dir, &c.StateDir, &c.NATS.CredentialsFile, &c.NATS.Embedded.StoreDir, &c.API.TokenFile)
	in := func(name *string, file string) {
		if *name == "" {
			*name = file
			absolute(c.StateDir, name)
		}
	}
	in(&c.NATS.Embedded.StoreDir, "jetstream")
	in(&c.API.TokenFile, "api.token")
}

func (c *CloudHub) check(r *report) {
	if c.Host == "" {
		r.add("host", "is empty, want the name devices use in their tokens")
	}
	if c.StateDir == "" {
		r.add("state_dir", "is empty")
	}
	checkListeners(r, c.Listeners)
	c.Auth.check(r, "auth")
	c.Broker.check(r)
	c.NATS.check(r)
	c.Stream.check(r)
	checkAddress(r, "api.listen", c.API.Listen)
	c.Log.check(r)
}

func (n *NATS) check(r *report) {
	if n.URL != "" {
		for u := range strings.SplitSeq(n.URL, ",") {
			p, err := url.Parse(strings.TrimSpace(u))
			if err != nil || p.Hostname() == "" {
				r.add("nats.url", "%q, want nats://host:port", u)
			}
		}
		if n.Embedded.Address != "" {
			r.add("nats.embedded.address", "there is no embedded server when nats.url is set")
		}
	}
	if n.Embedded.Address != "" {
		checkAddress(r, "nats.embedded.address", n.Embedded.Address)
	}
	r.oneOf("nats.embedded.sync", n.Embedded.Sync, "always", "interval")
}

func (s *Stream) check(r *report) {
	if s.Name == "" || strings.ContainsAny(s.Name, " .*>/\\\t\r\n") {
		r.add("stream.name", "%q, want a name without blanks, dots, slashes, * and >", s.Name)
	}
	for token := range strings.SplitSeq(s.Subjects, ".") {
		if token == "" || strings.ContainsAny(token, " *>\t\r\n") {
			r.add("stream.subjects", "%q, want words joined by dots", s.Subjects)
			break
		}
	}
	r.within("stream.replicas", int64(s.Replicas), 1, 5)
}
