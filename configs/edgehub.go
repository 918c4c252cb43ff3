package configs

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/iothub"
)

// EdgeHub configures an edgehub; edgehub.yaml explains every key.
type EdgeHub struct {
	Device    EdgeDevice `yaml:"device"`
	HubHost   string     `yaml:"hub_host"` // the host in SAS resources
	StateDir  string     `yaml:"state_dir"`
	RulesDir  string     `yaml:"rules_dir"`
	Listeners []Listener `yaml:"listeners"`
	Auth      Auth       `yaml:"auth"`
	Store     Store      `yaml:"store"`
	Broker    Broker     `yaml:"broker"`
	Router    Router     `yaml:"router"`
	Uplink    Uplink     `yaml:"uplink"`
	API       EdgeAPI    `yaml:"api"`
	Log       Log        `yaml:"log"`
}

// EdgeDevice is what this hub is to its parent.
type EdgeDevice struct {
	ID      string          `yaml:"id"`
	Key     identity.Secret `yaml:"key"` // base64
	KeyFile string          `yaml:"key_file"`
}

// Store bounds what is kept on disk.
type Store struct {
	MaxBytes        Bytes  `yaml:"max_bytes"`         // all queues; 0: no bound but the disk
	ReserveBytes    Bytes  `yaml:"reserve_bytes"`     // of the disk, kept free
	QueueMaxBytes   Bytes  `yaml:"queue_max_bytes"`   // one queue; 0: no bound of its own
	OnFull          string `yaml:"on_full"`           // reject, drop_oldest
	SessionMaxBytes Bytes  `yaml:"session_max_bytes"` // one MQTT session that is away; its oldest make room
	DeadLetterBytes Bytes  `yaml:"dead_letter_bytes"` // dead letters of one queue
}

// Router says how messages wait and are delivered.
type Router struct {
	DefaultTTL   Duration `yaml:"default_ttl"` // of rules without ttl; 0: never expires
	Window       int      `yaml:"window"`      // deliveries under way per queue
	MaxAttempts  int      `yaml:"max_attempts"`
	Retry        Retry    `yaml:"retry"`
	DedupeWindow Duration `yaml:"dedupe_window"` // how long message ids are remembered
}

// Retry is the pause after a failed delivery: doubled each time, with jitter.
type Retry struct {
	Min Duration `yaml:"min"`
	Max Duration `yaml:"max"`
}

// Uplink is the session with the parent. Without addresses there is none.
type Uplink struct {
	Addresses      []string `yaml:"addresses"` // tried in turn
	CAFile         string   `yaml:"ca_file"`
	Window         int      `yaml:"window"` // publishes under way
	Rate           Rate     `yaml:"rate"`
	Order          string   `yaml:"order"` // lanes, strict
	Lanes          Lanes    `yaml:"lanes"`
	KeepAlive      Duration `yaml:"keep_alive"`
	TokenTTL       Duration `yaml:"token_ttl"`
	ConnectTimeout Duration `yaml:"connect_timeout"`
}

// Rate caps the uplink; 0: no cap.
type Rate struct {
	MessagesPerSecond int   `yaml:"messages_per_second"`
	BytesPerSecond    Bytes `yaml:"bytes_per_second"`
}

// Lanes is the ratio in which new and waiting messages leave.
type Lanes struct {
	Live    int `yaml:"live"`
	Backlog int `yaml:"backlog"`
}

// EdgeAPI is where edgectl talks to the hub.
type EdgeAPI struct {
	Socket string `yaml:"socket"`
	Listen string `yaml:"listen"` // loopback only; empty: no TCP listener
}

func defaultEdgeHub() *EdgeHub {
	return &EdgeHub{
		StateDir: "state", RulesDir: "rules.d",
		Store:  Store{MaxBytes: 4 << 30, ReserveBytes: 64 << 20, OnFull: "reject", SessionMaxBytes: 1 << 30, DeadLetterBytes: 16 << 20},
		Broker: defaultBroker(),
		Router: Router{
			DefaultTTL: Duration(7 * day), Window: 1024, MaxAttempts: 20,
			Retry:        Retry{Min: Duration(250 * time.Millisecond), Max: Duration(time.Minute)},
			DedupeWindow: Duration(10 * time.Minute),
		},
		Uplink: Uplink{
			Window: 1024, Order: "lanes", Lanes: Lanes{Live: 4, Backlog: 1}, KeepAlive: Duration(time.Minute),
			TokenTTL: Duration(time.Hour), ConnectTimeout: Duration(10 * time.Second),
		},
		Log: defaultLog(),
	}
}

func (c *EdgeHub) fill(dir string) {
	if len(c.Listeners) == 0 {
		c.Listeners = []Listener{{Name: "local", Type: "tcp", Address: "127.0.0.1:1883"}}
	}
	fillListeners(c.Listeners, dir)
	absolute(dir, &c.StateDir, &c.RulesDir, &c.Device.KeyFile, &c.Uplink.CAFile, &c.API.Socket)
	if c.API.Socket == "" {
		c.API.Socket = filepath.Join(c.StateDir, "edgehub.sock")
	}
	if c.HubHost == "" && len(c.Uplink.Addresses) > 0 {
		if u, err := url.Parse(c.Uplink.Addresses[0]); err == nil {
			c.HubHost = u.Hostname()
		}
	}
}

func (c *EdgeHub) check(r *report) {
	c.Device.check(r, len(c.Uplink.Addresses) > 0)
	if c.StateDir == "" {
		r.add("state_dir", "is empty")
	}
	checkListeners(r, c.Listeners)
	c.Auth.check(r, "auth")
	c.Store.check(r)
	c.Broker.check(r)
	c.Router.check(r)
	c.Uplink.check(r)
	if c.API.Listen != "" && checkAddress(r, "api.listen", c.API.Listen) && !isLoopback(c.API.Listen) {
		r.add("api.listen", "%s is not a loopback address, and the API asks for no credentials", c.API.Listen)
	}
	c.Log.check(r)
}

func (d *EdgeDevice) check(r *report, connects bool) {
	if !iothub.ValidID(d.ID) {
		r.add("device.id", "%q, want 1 to %d letters, digits or - . _ and the like", d.ID, iothub.MaxID)
	}
	if _, err := base64.StdEncoding.DecodeString(d.Key.Reveal()); err != nil {
		r.add("device.key", "is not base64")
	}
	switch {
	case d.Key != "" && d.KeyFile != "":
		r.add("device.key_file", "key and key_file are both set")
	case connects && d.Key == "" && d.KeyFile == "":
		r.add("device", "the uplink needs key or key_file")
	}
}

func (s *Store) check(r *report) {
	r.oneOf("store.on_full", s.OnFull, "reject", "drop_oldest")
	r.within("store.reserve_bytes", int64(s.ReserveBytes), 1<<20, 0)
	r.within("store.session_max_bytes", int64(s.SessionMaxBytes), 1<<20, 0)
	if s.MaxBytes > 0 && s.QueueMaxBytes > s.MaxBytes {
		r.add("store.queue_max_bytes", "%s is more than max_bytes, %s", s.QueueMaxBytes, s.MaxBytes)
	}
}

func (c *Router) check(r *report) {
	r.within("router.window", int64(c.Window), 1, 1<<16)
	r.within("router.max_attempts", int64(c.MaxAttempts), 0, 0)
	if c.Retry.Min <= 0 || c.Retry.Max < c.Retry.Min {
		r.add("router.retry", "min is %s and max %s, want 0s < min <= max", c.Retry.Min, c.Retry.Max)
	}
}

func (u *Uplink) check(r *report) {
	for i, a := range u.Addresses {
		p, err := url.Parse(a)
		if err != nil || p.Hostname() == "" || !uplinkSchemes[p.Scheme] {
			r.add(fmt.Sprintf("uplink.addresses[%d]", i), "%q, want mqtts://host:port, or mqtt, wss or ws", a)
		}
	}
	r.oneOf("uplink.order", u.Order, "lanes", "strict")
	r.within("uplink.window", int64(u.Window), 1, 1<<15)
	r.within("uplink.rate.messages_per_second", int64(u.Rate.MessagesPerSecond), 0, 0)
	r.within("uplink.lanes.live", int64(u.Lanes.Live), 1, 1000)
	r.within("uplink.lanes.backlog", int64(u.Lanes.Backlog), 1, 1000)
	r.within("uplink.keep_alive", int64(time.Duration(u.KeepAlive)/time.Second), 5, 65535)
	if time.Duration(u.TokenTTL) < time.Minute {
		r.add("uplink.token_ttl", "%s is too short, want at least 1m", u.TokenTTL)
	}
	if u.ConnectTimeout <= 0 {
		r.add("uplink.connect_timeout", "must be more than 0s")
	}
}

var uplinkSchemes = map[string]bool{"mqtt": true, "mqtts": true, "ws": true, "wss": true}
