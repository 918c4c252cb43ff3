// Package leaf is a well-behaved MQTT client: a device in the IoT Hub dialect or
// a plain client. It keeps what is not acknowledged, connects again by itself
// and sends again in order, so that a hub that was down or killed meanwhile has
// everything once. The tools and the end-to-end tests publish with it.
//
// A Client may be used by many goroutines; what one goroutine publishes arrives
// in its order.
package leaf

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

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
	OnState   func(connected bool, err error)
}

// Client is one connection, made again when it is lost.
type Client struct {
	o Options
	c paho.Client
}

// tokenLife is how long a SAS token is good for; each connection makes its own.
const tokenLife = time.Hour

// New prepares a client; Connect connects it.
func New(o Options) (*Client, error) {
	if o.Host == "" {
		o.Host = "penstock"
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 30 * time.Second
	}
	addr, err := brokerURL(o.Address, o.TLS != nil)
	if err != nil {
		return nil, err
	}
	p := paho.NewClientOptions().AddBroker(addr).SetTLSConfig(o.TLS).
		SetClientID(o.clientID()).SetCleanSession(o.Clean).SetKeepAlive(o.KeepAlive).SetPingTimeout(10 * time.Second).
		SetAutoReconnect(true).SetMaxReconnectInterval(2 * time.Second).SetConnectTimeout(5 * time.Second).
		SetWriteTimeout(10 * time.Second).SetResumeSubs(true).SetOrderMatters(true).
		SetStore(paho.NewOrderedMemoryStore()).SetCredentialsProvider(o.credentials)
	if o.OnState != nil {
		p.SetOnConnectHandler(func(paho.Client) { o.OnState(true, nil) })
		p.SetConnectionLostHandler(func(_ paho.Client, err error) { o.OnState(false, err) })
	}
	return &Client{o: o, c: paho.NewClient(p)}, nil
}

func brokerURL(addr string, secure bool) (string, error) {
	if !strings.Contains(addr, "://") {
		scheme := "mqtt"
		if secure {
			scheme = "mqtts"
		}
		addr = scheme + "://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("address %q: want host:port or mqtt://, mqtts://, ws://, wss:// and a host", addr)
	}
	return u.String(), nil
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

// credentials makes the user name and a fresh token (contract 2.1, 2.2).
func (o *Options) credentials() (user, password string) {
	if o.Key == "" {
		return o.User, o.Password.Reveal()
	}
	id, path := o.Device, "/devices/"+o.Device
	if o.Module != "" {
		id, path = id+"/"+o.Module, path+"/modules/"+o.Module
	}
	token, err := identity.SAS(o.Host+path, o.Key, time.Now().Add(tokenLife))
	if err != nil {
		return "", "" // New's caller sees the refusal; a key that is no base64 cannot sign
	}
	return o.Host + "/" + id + "/?api-version=2021-04-12", token
}

// Connect connects and fails if the first attempt does: a wrong address or key
// is the caller's to hear of. Later losses are mended in the background.
func (c *Client) Connect(ctx context.Context) error {
	t := c.c.Connect()
	if err := wait(ctx, t); err != nil {
		return fmt.Errorf("connect to %s: %w", c.o.Address, err)
	}
	return nil
}

// Connected says whether there is a connection now.
func (c *Client) Connected() bool { return c.c.IsConnectionOpen() }

// Close ends the session; what is not acknowledged yet is given up.
func (c *Client) Close() { c.c.Disconnect(250) }

// Publish hands m to the hub, on the telemetry topic of the client's own device
// or module, or on m.Topic for a Plain message. The returned Sent is done when
// the hub has acknowledged.
func (c *Client) Publish(m *message.Message) *Sent {
	topic := m.Topic
	if m.Kind != message.Plain {
		topic = string(iothub.AppendEventsTopic(nil, c.o.Device, m))
	}
	return &Sent{c.c.Publish(topic, m.QoS, m.Retain, m.Body)}
}

// Subscribe calls f for each message on filter, in order. The topic is as received.
func (c *Client) Subscribe(ctx context.Context, filter string, qos byte, f func(topic string, body []byte, retained bool)) error {
	t := c.c.Subscribe(filter, qos, func(_ paho.Client, m paho.Message) { f(m.Topic(), m.Payload(), m.Retained()) })
	if err := wait(ctx, t); err != nil {
		return fmt.Errorf("subscribe to %s: %w", filter, err)
	}
	if granted := t.(*paho.SubscribeToken).Result()[filter]; granted > 2 {
		return fmt.Errorf("subscribe to %s: refused by the hub", filter)
	}
	return nil
}

// Sent is a publication under way.
type Sent struct{ t paho.Token }

// Done is closed when the hub has acknowledged, or the client was closed.
func (s *Sent) Done() <-chan struct{} { return s.t.Done() }

// Wait returns when the hub has acknowledged; nil means it has.
func (s *Sent) Wait(ctx context.Context) error { return wait(ctx, s.t) }

func wait(ctx context.Context, t paho.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}
