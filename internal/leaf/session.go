package leaf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

const (
	connectTimeout = 5 * time.Second
	writeTimeout   = 10 * time.Second
	goodbye        = 250 * time.Millisecond

	// window bounds the publishes under way in one connection.
	window = 1024

	// causeWithin is how long a failed publish waits for the reason, which paho
	// tells a moment later.
	causeWithin = 50 * time.Millisecond
)

// session is one connection. Each has a paho client of its own: one that
// reconnects by itself completes the tokens it had when it sends again, not when
// the hub has acknowledged, and lets new messages overtake those.
type session struct {
	client  paho.Client
	subs    []subscription // made in earlier sessions
	resumed bool           // the hub remembers them

	once  sync.Once
	ended chan struct{}
	cause error // valid when ended is closed
}

// dial makes one attempt.
func dial(ctx context.Context, o Options, to *url.URL, subs []subscription) (*session, error) {
	user, password, err := o.credentials()
	if err != nil {
		return nil, err
	}
	s := &session{subs: subs, ended: make(chan struct{})}
	opts := paho.NewClientOptions().AddBroker(to.String()).SetTLSConfig(o.TLS).
		SetDialer(&net.Dialer{Timeout: connectTimeout}).SetConnectTimeout(connectTimeout).SetWriteTimeout(writeTimeout).
		SetProtocolVersion(4). // without it a refusal is followed by an attempt with MQTT 3.1, and hidden by that one's
		SetClientID(o.clientID()).SetUsername(user).SetPassword(password).SetCleanSession(o.Clean).
		SetKeepAlive(o.KeepAlive).SetPingTimeout(10 * time.Second).
		SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).SetStore(noStore{}).
		SetConnectionLostHandler(func(_ paho.Client, err error) { s.end(err) })
	s.client = paho.NewClient(opts)
	for _, sub := range subs {
		s.client.AddRoute(route(sub.filter), handler(sub.f)) // a session that is resumed may deliver at once
	}
	token := s.client.Connect().(*paho.ConnectToken)
	if err := wait(ctx, token); err != nil {
		go func() { <-token.Done(); s.close() }() // the attempt ends by its timeout
		if op := (*net.OpError)(nil); errors.As(err, &op) {
			err = op // paho puts "network Error :" before it
		}
		return nil, fmt.Errorf("connect to %s: %w", to.Host, err)
	}
	s.resumed = token.SessionPresent()
	return s, nil
}

// route is the part of a filter that topics are matched with.
func route(filter string) string {
	if rest, shared := strings.CutPrefix(filter, "$share/"); shared {
		_, filter, _ = strings.Cut(rest, "/")
	}
	return filter
}

func handler(f Handler) paho.MessageHandler {
	return func(_ paho.Client, m paho.Message) { f(m.Topic(), m.Payload(), m.Retained()) }
}

func (s *session) end(cause error) {
	s.once.Do(func() {
		s.cause = cause
		close(s.ended)
	})
}

func (s *session) close() { s.client.Disconnect(uint(goodbye.Milliseconds())) }

// restore subscribes again, unless the hub has kept the session. The error names
// what it does not grant any more.
func (s *session) restore() (err error) {
	if s.resumed {
		return nil
	}
	for _, sub := range s.subs {
		e := s.subscribe(context.Background(), sub) // ends with the connection
		if errors.Is(e, errLost) {
			return e
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("subscribe again to %s: %w", sub.filter, e))
		}
	}
	return err
}

// subscribe waits for the hub's answer; errLost: the connection ended before.
func (s *session) subscribe(ctx context.Context, sub subscription) error {
	t := s.client.Subscribe(sub.filter, sub.qos, handler(sub.f)).(*paho.SubscribeToken)
	select {
	case <-t.Done():
	case <-s.ended:
		return errLost
	case <-ctx.Done():
		return ctx.Err()
	}
	switch err := t.Error(); {
	case s.lost():
		return errLost
	case err != nil:
		return err
	}
	if granted := t.Result()[sub.filter]; granted > 2 {
		return ErrRefused
	}
	return nil
}

// lost says whether the session has ended, or is about to.
func (s *session) lost() bool {
	if s.client.IsConnectionOpen() {
		return false
	}
	select {
	case <-s.ended:
	case <-time.After(causeWithin):
		s.end(errLost)
	}
	return true
}

// serve publishes from b until the connection or ctx ends, and says why. A
// Publish that began as the connection broke may hang in paho for writeTimeout;
// nobody waits for it.
func (s *session) serve(ctx context.Context, b *backlog) error {
	stop := context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	defer stop()
	b.giveTo(s)
	under := make(chan paho.Token, window)
	go s.publish(b, under)
	s.collect(b, under)
	b.giveTo(nil)
	return s.cause
}

func (s *session) publish(b *backlog, under chan<- paho.Token) {
	for {
		m := b.next(s)
		if m == nil {
			select {
			case <-b.more:
				continue
			case <-s.ended:
				b.wake() // what was taken here may have been the next session's
				return
			}
		}
		t := s.client.Publish(m.topic, m.qos, m.retain, m.body)
		select {
		case under <- t:
		case <-s.ended:
			return
		}
		select {
		case <-t.Done():
			if t.Error() != nil {
				return // collect ends the session; a later message must not arrive before this one
			}
		default:
		}
	}
}

// collect waits for the acknowledgements in the order of sending. It also looks
// at the session's end: there are tokens that never complete.
func (s *session) collect(b *backlog, under <-chan paho.Token) {
	for {
		var t paho.Token
		select {
		case t = <-under:
		case <-s.ended:
			return
		}
		select {
		case <-t.Done():
		case <-s.ended:
			return
		}
		if err := t.Error(); err != nil {
			select {
			case <-s.ended:
			case <-time.After(causeWithin):
				s.end(err)
			}
			return
		}
		b.acknowledged()
	}
}

func wait(ctx context.Context, t paho.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noStore keeps nothing: the backlog does.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
