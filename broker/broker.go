// Package broker is Penstock's MQTT door, on devices and in the cloud: MQTT
// 3.1.1 and 5.0 over TCP, TLS and WebSocket.
//
// mochi-mqtt is the shell: it keeps sessions, the topic tree, CONNECT, SUBSCRIBE
// and everything else that is rare. The two hot directions are the broker's
// own. Each listener's connection is spliced: every packet is framed and vetted
// by package wire before mochi sees it; runs of PUBLISH go to the Acceptor as
// one batch, acknowledgements go to the session, and one goroutine per
// connection writes whatever is ready in one write.
//
// Promises: PUBACK and PUBREC leave only after the Acceptor said the batch is
// durable, in the order the messages came; a refused batch is never
// acknowledged. A persistent session is a durable queue. A subscriber that does
// not read slows nobody. A packet that breaks the specification ends its own
// connection with a reason, never the process.
//
// The broker never decides where a message goes beyond MQTT subscriptions:
// rules, the store and the cloud are behind the interfaces in this file.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/message"
)

// Acceptor takes responsibility for messages. Accept may wait for room; it
// calls b.Done exactly once, later, from any goroutine, and completes the
// batches of one sender in order.
type Acceptor interface {
	Accept(b *message.Batch)
}

// Guard says who a client is and what it may do. Both methods are called
// concurrently; Allow is on the path of every new topic.
type Guard interface {
	Authenticate(c *identity.Connect) (*identity.Principal, error)
	Allow(p *identity.Principal, a identity.Action, topic string) bool
}

// Queue is the durable queue of one persistent session.
type Queue interface {
	Lease(dst []message.Delivery, max int) ([]message.Delivery, error)
	Ready() <-chan struct{}
	Settle(seq uint64, o message.Outcome, cause string, with ...message.Record)
	Rewind()
}

// Queues opens, deletes and names the queues of persistent sessions.
type Queues interface {
	Queue(name string) (Queue, error)
	Drop(name string) error
	Queues() []string // others than sessions' as well
}

// Records keeps what must outlive the process beside the queues: sessions,
// retained messages, wills, packet ids of QoS 2. Put's done is called after the
// synced commit; records are committed in the order of Put, after everything
// that was settled before.
type Records interface {
	Records(bucket string, each func(key string, value []byte) error) error
	Put(done func(error), r ...message.Record)
}

// Config says what the broker listens on and where its limits are. Zero values
// take the defaults named with each field.
type Config struct {
	Listeners []Listener

	MaxPacketSize    int           // bytes of one packet; 320 KiB
	ReceiveMaximum   uint16        // unacknowledged QoS 1 and 2 publishes a client may have; 1024
	TopicAliasMax    uint16        // topic aliases a client may set; 64
	MaxConnections   int           // 10,000
	SessionExpiryMax time.Duration // longest life of a session without a connection; 30 days
	KeepAliveMax     time.Duration // clients asking for more, or for none, get this; 0: no limit
	ConnectTimeout   time.Duration // time to a complete CONNECT; 10 s
	WriteTimeout     time.Duration // a write that takes longer ends the connection; 30 s
	Window           int           // unacknowledged deliveries to one client; 1024
	QueueBytes       int           // memory of one session's undelivered messages that need no disk; 8 MiB
	MaxRetained      int           // retained messages; 100,000
	MaxSessions      int           // sessions, connected or kept; 50,000
	MaxSubscriptions int           // filters of one session; 1,000

	// ObscureRefusals answers refused subscriptions of MQTT 5 with 0x80 in place
	// of 0x87, for clients that must not learn what exists.
	ObscureRefusals bool

	// Subscribed, when set, is called after a client's subscriptions changed or
	// it connected with some: what waits for that client may go on. It must not block.
	Subscribed func(clientID string)
}

func (c *Config) defaults() {
	def(&c.MaxPacketSize, 320<<10)
	def(&c.ReceiveMaximum, 1024)
	def(&c.TopicAliasMax, 64)
	def(&c.MaxConnections, 10_000)
	def(&c.SessionExpiryMax, 30*24*time.Hour)
	def(&c.ConnectTimeout, 10*time.Second)
	def(&c.WriteTimeout, 30*time.Second)
	def(&c.Window, 1024)
	def(&c.QueueBytes, 8<<20)
	def(&c.MaxRetained, 100_000)
	def(&c.MaxSessions, 50_000)
	def(&c.MaxSubscriptions, 1000)
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Deps are the broker's neighbours. Queues and Records may be nil together:
// then sessions and retained messages live in memory.
type Deps struct {
	Acceptor Acceptor
	Guard    Guard
	Queues   Queues
	Records  Records
	Log      *slog.Logger
}

// Broker serves MQTT clients. Create it with New, serve with Run.
type Broker struct {
	cfg      Config
	accept   Acceptor
	guard    Guard
	queues   Queues
	records  Records
	log      *slog.Logger
	server   *mqtt.Server
	sessions sessions
	matches  matches
	retained retained
	wills    wills
	stats    Stats

	listeners []*listener

	mu      sync.Mutex
	conns   map[*conn]struct{} // being served
	closing bool
	active  sync.WaitGroup // of conns
}

// New binds the listeners (so that a port in use is an error here), restores
// sessions, retained messages and wills, and serves nobody until Run.
func New(cfg Config, deps Deps) (*Broker, error) {
	cfg.defaults()
	b := &Broker{
		cfg: cfg, accept: deps.Acceptor, guard: deps.Guard, queues: deps.Queues,
		records: deps.Records, log: deps.Log, conns: make(map[*conn]struct{}),
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.sessions.init(b)
	b.matches.init(b)
	b.retained.init(b)
	b.wills.init(b)
	b.server = mqtt.New(&mqtt.Options{
		Capabilities:             b.capabilities(),
		Logger:                   slog.New(slog.DiscardHandler), // mochi logs whole packets, payloads included
		ClientNetReadBufferSize:  512,                           // it sees rare, small packets only
		ClientNetWriteBufferSize: 512,
		SysTopicResendInterval:   math.MaxInt32, // $SYS costs a stop of the world per tick; metrics tell the same
	})
	if err := b.restore(); err != nil {
		return nil, err
	}
	if err := b.server.AddHook(&hook{b: b}, nil); err != nil {
		return nil, fmt.Errorf("attach broker hook: %w", err)
	}
	for i := range cfg.Listeners {
		l, err := listen(b, cfg.Listeners[i])
		if err != nil {
			b.closeListeners()
			return nil, err
		}
		b.listeners = append(b.listeners, l)
		b.server.Listeners.Add(l)
	}
	return b, nil
}

// capabilities sets every mochi limit that would drop or shadow what the
// broker does itself.
func (b *Broker) capabilities() *mqtt.Capabilities {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumClients = math.MaxInt64 // counted per accepted socket instead, before any CONNECT
	c.MaximumMessageExpiryInterval = 0
	c.MaximumClientWritesPending = 1                // nothing is ever queued there
	c.MaximumSessionExpiryInterval = math.MaxUint32 // sessions expire here, where a client that returns at that moment is seen
	c.ReceiveMaximum = b.cfg.ReceiveMaximum
	c.TopicAliasMaximum = b.cfg.TopicAliasMax
	c.MinimumProtocolVersion = 4
	c.Compatibilities.ObscureNotAuthorized = b.cfg.ObscureRefusals
	c.Compatibilities.NoInheritedPropertiesOnAck = true
	return c
}

// Run serves until ctx ends, then tells MQTT 5 clients that the server shuts
// down, waits for the connections to finish and returns.
func (b *Broker) Run(ctx context.Context) error {
	if err := b.server.Serve(); err != nil {
		b.closeListeners()
		return fmt.Errorf("serve mqtt: %w", err)
	}
	b.dropStatistics()
	b.wills.resume()
	b.sessions.resume()
	<-ctx.Done()
	b.shut()
	b.active.Wait()
	b.wills.stop()
	b.sessions.stop()
	if err := b.server.Close(); err != nil {
		return fmt.Errorf("stop mqtt: %w", err)
	}
	return nil
}

// dropStatistics forgets what mochi retained under $SYS when it started: nobody
// keeps it up to date.
func (b *Broker) dropStatistics() {
	for topic := range b.server.Topics.Retained.GetAll() {
		b.server.Topics.Retained.Delete(topic)
	}
}

// enter counts c as served; false when the broker stops or is full.
func (b *Broker) enter(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing || len(b.conns) >= b.cfg.MaxConnections {
		return false
	}
	b.conns[c] = struct{}{}
	b.active.Add(1)
	return true
}

func (b *Broker) leave(c *conn) {
	b.mu.Lock()
	delete(b.conns, c)
	b.mu.Unlock()
	b.active.Done()
}

// shut lets nobody in and tells everybody who is to go.
func (b *Broker) shut() {
	b.mu.Lock()
	b.closing = true
	all := slices.Collect(maps.Keys(b.conns))
	b.mu.Unlock()
	b.closeListeners()
	for _, c := range all {
		c.disconnect(wire.ServerShuttingDown, "the server shuts down")
	}
}

// Expel ends the connections of those that match says; MQTT 5 clients are told
// the reason. Their sessions stay. match must not block.
func (b *Broker) Expel(match func(*identity.Principal) bool, reason string) (n int) {
	for _, c := range b.sessions.connections() {
		if match(c.principal) {
			c.disconnect(wire.AdministrativeAction, reason)
			n++
		}
	}
	return n
}

// Close gives the listeners back. It is for a Broker that is not Run; Run does so
// itself.
func (b *Broker) Close() { b.shut() }

func (b *Broker) stopping() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closing
}

func (b *Broker) closeListeners() {
	for _, l := range b.listeners {
		l.shut()
	}
}

// Addr returns the address a listener is bound to, nil if there is none of that name.
func (b *Broker) Addr(name string) net.Addr {
	for _, l := range b.listeners {
		if l.cfg.Name == name {
			return l.ln.Addr()
		}
	}
	return nil
}

// restore reads what earlier runs kept.
func (b *Broker) restore() error {
	if b.records == nil {
		return nil
	}
	return errors.Join(b.sessions.restore(), b.retained.restore(), b.wills.restore())
}
