package uplink

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/iothub"
	"github.com/penstock-io/penstock/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = identity.Secret("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")

// patience bounds every wait for a condition.
const patience = 20 * time.Second

// parent is an MQTT broker that notes what it is sent.
type parent struct {
	mochi.HookBase
	server *mochi.Server
	tcp    string
	ws     *httptest.Server

	mu       sync.Mutex
	got      []message.Message
	at       []time.Time
	tokens   []*identity.Token // of the connections let in
	refused  int
	badKey   bool
	withhold bool                       // acknowledge nothing
	poison   func(message.Message) bool // close the connection on it
}

func newParent(t *testing.T) *parent {
	t.Helper()
	p := &parent{server: mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})}
	tcp := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	if err := errors.Join(p.server.AddHook(p, nil), p.server.AddListener(tcp), p.server.Serve()); err != nil {
		t.Fatal(err)
	}
	p.tcp = tcp.Address()
	t.Cleanup(func() { p.server.Close() })
	p.ws = httptest.NewTLSServer(http.HandlerFunc(p.upgrade))
	t.Cleanup(p.ws.Close)
	return p
}

func (p *parent) upgrade(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != webSocketPath {
		http.NotFound(w, r)
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	_ = p.server.EstablishConnection("wss", &wsConn{Conn: ws})
}

func (p *parent) ID() string { return "parent" }

func (p *parent) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck || b == mochi.OnPublish
}

func (p *parent) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func (p *parent) OnConnectAuthenticate(_ *mochi.Client, pk packets.Packet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	u, err := iothub.ParseUsername(string(pk.Connect.Username))
	token, err2 := identity.ParseSAS(string(pk.Connect.Password))
	if err != nil || err2 != nil || p.badKey || u.Device != pk.Connect.ClientIdentifier || !pk.Connect.Clean ||
		!token.SignedBy(testKey) || time.Now().After(token.Expires.Add(time.Second)) {
		p.refused++
		return false
	}
	p.tokens = append(p.tokens, token)
	return true
}

func (p *parent) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := message.Message{Body: pk.Payload}
	if err := iothub.DecodeEvents(pk.TopicName, &m); err != nil {
		panic(err)
	}
	if err := iothub.Unwrap(cl.ID, &m); err != nil {
		panic(err)
	}
	if p.poison != nil && p.poison(m) {
		cl.Stop(errors.New("not this one"))
		return pk, packets.ErrRejectPacket
	}
	p.got, p.at = append(p.got, m), append(p.at, time.Now())
	if p.withhold {
		return pk, packets.ErrRejectPacket
	}
	return pk, nil
}

func (p *parent) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *parent) count(f func() int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f()
}

func (p *parent) received() int { return p.count(func() int { return len(p.got) }) }

// inOrder fails the test unless the messages from 1 to n are there and first came
// in that order, repetitions aside; it returns how many were repeated.
func (p *parent) inOrder(t *testing.T, n int) (repeated int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	want := uint64(1)
	for i, m := range p.got {
		switch seq := m.Origin.Seq; {
		case seq == want:
			want++
		case seq > want:
			t.Fatalf("message %d is number %d: it overtook number %d", i, seq, want)
		default:
			repeated++
		}
	}
	if want != uint64(n)+1 {
		t.Fatalf("the parent has %d messages, want %d", want-1, n)
	}
	return repeated
}

// testConfig is quick to notice and quick to come back.
func testConfig(addresses ...string) Config {
	return Config{
		Addresses: addresses, Device: "edge-1", Key: testKey, Epoch: "e1", Floor: func() uint64 { return 1 },
		ConnectTimeout: 2 * time.Second, KeepAlive: time.Second, PingTimeout: 500 * time.Millisecond,
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	}
}

func start(t *testing.T, cfg Config) *Uplink {
	t.Helper()
	u, err := New(cfg, slog.New(slog.NewTextHandler(testWriter{t}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- u.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return u
}

type testWriter struct{ t *testing.T }

var _ io.Writer = testWriter{}

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting: %s", what)
		}
	}
}

func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("still waiting: %s", what)
		panic("unreachable")
	}
}

func telemetry(seq uint64) *message.Delivery {
	return &message.Delivery{
		Message: message.Message{Kind: message.Telemetry, Device: "leaf-1", Body: []byte("21.5")},
		Seq:     seq,
	}
}

// send delivers one message and returns where its answer comes.
func send(ctx context.Context, u *Uplink, d *message.Delivery) <-chan error {
	answer := make(chan error, 2)
	u.Deliver(ctx, d, func(err error) { answer <- err })
	return answer
}

// pump delivers 1 to n as the router does: when an answer is an error it ends the
// context of what is under way, waits for all answers and begins again with the
// first that failed. It returns when all are acknowledged.
func pump(t *testing.T, u *Uplink, n int, before func(seq int)) {
	t.Helper()
	acked := make([]bool, n+1)
	for first := 1; first <= n; {
		receive(t, "the link", u.Available())
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex
		var under sync.WaitGroup
		for seq := first; seq <= n && ctx.Err() == nil; seq++ {
			if acked[seq] {
				continue
			}
			if before != nil {
				before(seq)
			}
			under.Add(1)
			u.Deliver(ctx, telemetry(uint64(seq)), func(err error) {
				if err != nil {
					cancel()
				}
				mu.Lock()
				acked[seq] = err == nil
				mu.Unlock()
				under.Done()
			})
		}
		under.Wait()
		cancel()
		for first <= n && acked[first] {
			first++
		}
	}
}
