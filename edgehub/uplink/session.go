package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"

	"github.com/penstock-io/penstock/identity"
)

// handoff is paho's own write timeout. Since conn's Write does not block, all it
// bounds is how long a Publish that began as the connection broke is stuck.
const handoff = 2 * time.Second

// causeWithin is how long a failed token waits for the reason: paho fails tokens
// just before it tells why the connection was lost.
const causeWithin = 50 * time.Millisecond

const apiVersion = "2021-04-12"

// session is one MQTT connection with the parent.
type session struct {
	line    *line
	pace    *pace
	client  mqtt.Client
	conn    *conn
	to      *url.URL
	made    time.Time // its token; the monotonic reading counts
	sent    chan mqtt.Token
	wake    chan struct{}
	workers sync.WaitGroup

	once  sync.Once
	ended chan struct{}
	cause error // valid when ended is closed
}

// noSession owns a line between two sessions.
var noSession = &session{wake: make(chan struct{}, 1)}

func (s *session) wakeUp() { signal(s.wake) }

// connect makes one attempt at one address. ready, if not nil, is called when
// the transport stands and before CONNECT is sent.
func (u *Uplink) connect(ctx context.Context, to *url.URL, ready func(context.Context)) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.ConnectTimeout)
	defer cancel()
	s := &session{
		line: u.line, pace: u.pace, to: to, made: time.Now(),
		sent: make(chan mqtt.Token, u.cfg.Window), wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	opts, err := u.options(s, to)
	if err != nil {
		return nil, err
	}
	unwatch := func() bool { return true }
	opts.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		raw, err := u.dial(ctx, to)
		if err != nil {
			return nil, err
		}
		if ready != nil {
			ready(ctx)
		}
		s.conn = newConn(raw, u.cfg.WriteTimeout, s.end)
		unwatch = context.AfterFunc(ctx, func() { s.conn.Close() })
		return s.conn, nil
	})
	s.client = mqtt.NewClient(opts)
	token := s.client.Connect()
	<-token.Done()
	err = token.Error()
	if !unwatch() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		u.background.Go(s.stop)
		return nil, fmt.Errorf("connect to %s: %w", to.Host, refusal(ctx, err))
	}
	return s, nil
}

func (u *Uplink) options(s *session, to *url.URL) (*mqtt.ClientOptions, error) {
	host := u.cfg.Host
	if host == "" {
		host = to.Hostname()
	}
	opts := mqtt.NewClientOptions().
		AddBroker(to.String()).
		SetClientID(u.cfg.Device).
		SetUsername(host + "/" + u.cfg.Device + "/?api-version=" + apiVersion + "&DeviceClientType=penstock-edgehub").
		SetProtocolVersion(4).
		SetCleanSession(true). // tokens of a session that is resumed never complete
		SetAutoReconnect(false).
		SetConnectRetry(false).
		SetOrderMatters(false).
		SetStore(noStore{}).
		SetConnectTimeout(u.cfg.ConnectTimeout + drainTimeout).
		SetKeepAlive(u.cfg.KeepAlive).
		SetPingTimeout(u.cfg.PingTimeout).
		SetWriteTimeout(handoff).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.end(err) })
	if u.cfg.Key != "" {
		token, err := identity.SAS(identity.Resource(host, u.cfg.Device, ""), u.cfg.Key, u.cfg.Now().Add(u.cfg.TokenLife))
		if err != nil {
			return nil, err
		}
		opts.SetPassword(token)
	}
	return opts, nil
}

// refusal names the cause that paho wraps or hides.
func refusal(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// start begins to send what the line holds.
func (s *session) start() {
	s.workers.Go(s.publish)
	s.workers.Go(s.collect)
}

// end marks the session as over; the first cause counts. When it returns, every
// delivery of the session is answered, whoever called it first.
func (s *session) end(cause error) {
	s.once.Do(func() {
		s.cause = cause
		close(s.ended)
		s.line.fail(s, cause, hungUp(cause))
	})
	s.line.fail(s, s.cause, false) // a session that ended before it got the line
}

// hungUp reports whether the other side ended the connection.
func hungUp(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	var closed *websocket.CloseError // also for an end without a closing handshake
	return errors.As(err, &closed)
}

// stop says goodbye if it can and waits for the session's goroutines.
func (s *session) stop() {
	if s.client != nil {
		s.client.Disconnect(uint(closeWithin.Milliseconds()))
	}
	if s.conn != nil {
		s.conn.Close()
		s.conn.wait()
	}
	s.workers.Wait()
}

// publish sends entry after entry.
func (s *session) publish() {
	defer s.wakeUp()
	for {
		size, again, ok := s.line.next(s)
		if !ok {
			if !s.awaitWork(again) {
				return
			}
			continue
		}
		if !s.pace.wait(s.ended, size) || !s.conn.room(s.ended) {
			return
		}
		if topic, body, ok := s.line.take(s); ok {
			s.sent <- s.client.Publish(topic, 1, false, body)
		}
	}
}

// awaitWork waits until there may be something to send, or for a time if it is not
// zero, and reports false if the session ends first.
func (s *session) awaitWork(atMost time.Duration) bool {
	var late <-chan time.Time
	if atMost > 0 {
		t := time.NewTimer(atMost)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-s.wake:
	case <-late:
	case <-s.ended:
		return false
	}
	return true
}

// collect waits for the acknowledgements in the order of sending, which is the
// order in which they come (MQTT 3.1.1, 4.6). It also ends with the session:
// there are tokens that never complete.
func (s *session) collect() {
	for {
		var t mqtt.Token
		select {
		case t = <-s.sent:
		case <-s.ended:
			return
		}
		select {
		case <-t.Done():
		case <-s.ended:
			return
		}
		if err := t.Error(); err != nil {
			sleep(s.ended, causeWithin)
			s.end(err)
			return
		}
		s.line.ack(s)
	}
}

// noStore keeps nothing: what is not acknowledged is kept by the queue.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
