// Package leaf is a well-behaved MQTT 3.1.1 client: a device in the IoT Hub
// dialect or a plain client. It keeps what is not acknowledged, connects again by
// itself and sends again in order, so that a hub that was down or killed meanwhile
// has everything. The tools and the end-to-end tests publish with it.
//
// What one goroutine publishes arrives in its order. A message whose
// acknowledgement was lost is sent again as a new packet: it arrives at least
// once, and once where the hub knows its message id.
//
// A Client may be used by many goroutines. It has one goroutine of its own, and
// two per connection, from Connect to Close. What it keeps is bounded.
package leaf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/iothub"
	"github.com/penstock-io/penstock/message"
)

// Options say which hub to talk to and as whom.
type Options struct {
	Address string // host:port, or a URL with mqtt, mqtts, ws or wss
	Host    string // the hub's name in user name and token; default "penstock"

	Device, Module string
	Key            identity.Secret // base64; with Device set: log in with SAS tokens

	ClientID string // plain clients
	User     string
	Password identity.Secret

	TLS       *tls.Config
	Clean     bool          // forget subscriptions and what is queued when the connection ends
	KeepAlive time.Duration // 30 s when 0

	// OnState, when set, hears of every connection made or lost, of attempts that
	// fail for a new reason, and, with a connection, of subscriptions that the hub
	// does not grant again. It is called by one goroutine and must not call Close.
	OnState func(connected bool, err error)
}

// Client is one connection, made again when it is lost.
type Client struct {
	o      Options
	url    *url.URL
	unsent *backlog

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	started bool          // no Connect any more
	session *session      // nil while there is none
	up      chan struct{} // closed while there is a session
	subs    []subscription
}

type subscription struct {
	filter string
	qos    byte
	f      Handler
}

// Handler is called for each message of a subscription, in order, by one
// goroutine; it must not block. The topic is as received.
type Handler func(topic string, body []byte, retained bool)

// New prepares a client; Connect connects it.
func New(o Options) (*Client, error) {
	if o.Host == "" {
		o.Host = "penstock"
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 30 * time.Second
	}
	if o.Device == "" && (o.Module != "" || o.Key != "") {
		return nil, errors.New("a module or a key needs the device it belongs to")
	}
	u, err := brokerURL(o.Address, o.TLS != nil)
	if err != nil {
		return nil, err
	}
	if _, _, err := o.credentials(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{o: o, url: u, unsent: newBacklog(), ctx: ctx, cancel: cancel, up: make(chan struct{})}, nil
}

func brokerURL(addr string, secure bool) (*url.URL, error) {
	if !strings.Contains(addr, "://") {
		scheme := "mqtt"
		if secure {
			scheme = "mqtts"
		}
		addr = scheme + "://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || !slices.Contains([]string{"mqtt", "mqtts", "ws", "wss"}, u.Scheme) {
		return nil, fmt.Errorf("address %q: want host:port or mqtt://, mqtts://, ws://, wss:// and a host", addr)
	}
	if port := map[string]string{"mqtt": "1883", "mqtts": "8883"}[u.Scheme]; u.Port() == "" && port != "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

func (o *Options) clientID() string {
	switch {
	case o.Module != "":
		return o.Device + "/" + o.Module
	case o.Device != "":
		return o.Device
	}
	return o.ClientID
}

// tokenLife is how long a SAS token is good for; each connection makes its own.
const tokenLife = time.Hour

// credentials makes the user name and a fresh token (contract 2.1, 2.2).
func (o *Options) credentials() (user, password string, err error) {
	if o.Key == "" {
		return o.User, o.Password.Reveal(), nil
	}
	token, err := identity.SAS(identity.Resource(o.Host, o.Device, o.Module), o.Key, time.Now().Add(tokenLife))
	return o.Host + "/" + o.clientID() + "/?api-version=2021-04-12", token, err
}

// Connect connects and fails if the first attempt does: a wrong address or key
// is the caller's to hear of, who may call again. Later losses are mended in the
// background until Close; ctx bounds this call only.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	if c.started {
		return errors.New("connect: already connected")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	s, err := dial(ctx, c.o, c.url, nil)
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	if err != nil {
		return err
	}
	c.started = true
	c.work.Go(func() { c.run(s) })
	return nil
}

// Connected says whether there is a connection now.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session != nil
}

// Close says goodbye and fails with ErrClosed what is not acknowledged yet. It
// waits for the client's goroutines; a connection attempt under way ends by
// itself within seconds.
func (c *Client) Close() {
	c.cancel()
	c.mu.Lock() // held by a Connect under way
	c.started = true
	c.mu.Unlock()
	c.work.Wait()
	c.unsent.close()
}

// Publish hands m to the hub, on the telemetry topic of the client's own device
// or module, or on m.Topic for a Plain message. It does not wait; while there is
// no connection, messages are kept. The body must stay as it is until the
// returned Sent is done.
func (c *Client) Publish(m *message.Message) *Sent {
	s := &Sent{topic: m.Topic, qos: m.QoS, retain: m.Retain, body: m.Body, done: make(chan struct{})}
	if m.Kind != message.Plain {
		s.topic = string(iothub.AppendEventsTopic(nil, c.o.Device, m))
	}
	if s.qos > 1 && !c.o.Clean {
		s.finish(ErrQoS)
		return s
	}
	c.unsent.add(s)
	return s
}

// Subscribe calls f for each message on filter, now and after each reconnection.
// It returns when the hub has granted the subscription.
func (c *Client) Subscribe(ctx context.Context, filter string, qos byte, f Handler) error {
	sub := subscription{filter: filter, qos: qos, f: f}
	for {
		s, err := c.current(ctx)
		if err == nil {
			err = s.subscribe(ctx, sub)
		}
		if errors.Is(err, errLost) {
			continue
		}
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", filter, err)
		}
		if c.keep(s, sub) {
			return nil
		}
	}
}

// current waits for a connection.
func (c *Client) current(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, up := c.session, c.up
		c.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// keep notes a subscription that s has granted for the sessions after s; false:
// there is another session already, which does not know it.
func (c *Client) keep(s *session, sub subscription) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s {
		return false
	}
	c.subs = append(c.subs, sub)
	return true
}

// run serves sessions one after the other until Close.
func (c *Client) run(s *session) {
	for s != nil {
		c.state(true, s.restore())
		c.switchTo(s)
		err := s.serve(c.ctx, c.unsent)
		c.switchTo(nil)
		s.close()
		if c.ctx.Err() != nil {
			return
		}
		c.state(false, err)
		s = c.redial(err)
	}
}

func (c *Client) switchTo(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	if s != nil {
		close(c.up)
		return
	}
	c.up = make(chan struct{})
}

const (
	minPause = 100 * time.Millisecond
	maxPause = 2 * time.Second
)

// redial connects again, however long it takes; nil: the client was closed.
func (c *Client) redial(last error) *session {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		select {
		case <-c.ctx.Done():
			return nil
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		c.mu.Lock()
		subs := slices.Clone(c.subs)
		c.mu.Unlock()
		s, err := dial(c.ctx, c.o, c.url, subs)
		if err == nil {
			return s
		}
		if c.ctx.Err() == nil && err.Error() != last.Error() {
			c.state(false, err)
		}
		last = err
	}
}

func (c *Client) state(connected bool, err error) {
	if c.o.OnState != nil {
		c.o.OnState(connected, err)
	}
}
