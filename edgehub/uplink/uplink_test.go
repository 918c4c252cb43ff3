package uplink

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/internal/faultproxy"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/router"
)

var _ router.Sink = (*Uplink)(nil)

func proxy(t *testing.T, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestMessagesKeepWhoSentThemAndGetAnOrigin(t *testing.T) {
	for _, scheme := range []string{"mqtt", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			p := newParent(t)
			address := map[string]string{"mqtt": p.tcp, "wss": p.ws.Listener.Addr().String()}[scheme]
			cfg := testConfig(scheme + "://" + address)
			cfg.TLS.CAFile = writePEM(t, "ca.pem", "CERTIFICATE", p.ws.Certificate().Raw)
			cfg.Floor = func() uint64 { return 5 }
			u := start(t, cfg)
			sent := []message.Message{
				{Kind: message.Telemetry, Device: "leaf-1", Body: []byte("a"), System: []message.Property{{Name: message.SysMessageID, Value: "m 1"}}},
				{Kind: message.Telemetry, Device: "edge-1", Module: "filter", Output: "hot", Body: []byte("b"), Properties: []message.Property{{Name: "alert", Value: "ja&nein"}}},
				{Kind: message.Plain, Topic: "plant/7/temp", Body: []byte("c")},
				{Kind: message.Telemetry, Device: "leaf-2", Body: []byte("d"), Origin: message.Origin{Device: "child", Epoch: "x", Seq: 99}},
			}
			receive(t, "the link", u.Available())
			for i, m := range sent {
				seq := uint64(i + 4)
				if err := receive(t, "answer", send(t.Context(), u, &message.Delivery{Message: m, Seq: seq})); err != nil {
					t.Fatal(err)
				}
				if m.Device == "" {
					sent[i].Device = "edge-1" // the hub lends its name
				}
				sent[i].Origin = message.Origin{Device: "edge-1", Epoch: "e1", Seq: seq, Floor: min(seq, 5)}
				m = p.got[i]
				if len(m.System) == 0 {
					m.System = nil
				}
				if len(m.Properties) == 0 {
					m.Properties = nil
				}
				if diff := cmp.Diff(sent[i], m); diff != "" {
					t.Errorf("message %d at the parent (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func TestManyInFlightOnASlowLink(t *testing.T) {
	p := newParent(t)
	slow := proxy(t, p.tcp)
	slow.Delay(20 * time.Millisecond)
	cfg := testConfig("mqtt://" + slow.Addr())
	cfg.Window = 100
	u := start(t, cfg)
	most := 0
	pump(t, u, 1000, func(int) {
		if n := u.Status().InFlight; n > most {
			most = n
		}
	})
	if n := p.inOrder(t, 1000); n != 0 {
		t.Errorf("%d messages were sent twice", n)
	}
	if most < 50 || most > 100 {
		t.Errorf("at most %d messages in flight, want nearly the window of 100 and no more", most)
	}
	if st := u.Status(); st.Sent != 1000 || st.InFlight != 0 {
		t.Errorf("status: %+v", st)
	}
}

func TestCutsLoseAndReorderNothing(t *testing.T) {
	p := newParent(t)
	link := proxy(t, p.tcp)
	link.Delay(time.Millisecond)
	u := start(t, testConfig("mqtt://"+link.Addr()))
	const n = 4000
	pump(t, u, n, func(seq int) {
		if rand.N(500) == 0 {
			link.Cut()
		}
	})
	t.Logf("%d repeated, %d reconnects", p.inOrder(t, n), u.Status().Reconnects)
}

func TestLostConnectionAnswersEveryDeliveryOnce(t *testing.T) {
	p := newParent(t)
	p.withhold = true
	link := proxy(t, p.tcp)
	cfg := testConfig("mqtt://" + link.Addr())
	cfg.Window = 50
	u := start(t, cfg)
	receive(t, "the link", u.Available())
	var answers []<-chan error
	for seq := range uint64(50) {
		answers = append(answers, send(t.Context(), u, telemetry(seq+1)))
	}
	eventually(t, "all in flight", func() bool { return u.Status().InFlight == 50 })
	blocked := make(chan error, 1)
	go func() { blocked <- <-send(t.Context(), u, telemetry(51)) }()
	link.Refuse(true)
	link.Cut()
	for i, a := range answers {
		if err := receive(t, "answer", a); !errors.Is(err, router.ErrUnavailable) {
			t.Fatalf("delivery %d: %v", i+1, err)
		}
	}
	if err := receive(t, "answer to the one without a place", blocked); !errors.Is(err, router.ErrUnavailable) {
		t.Fatalf("delivery 51: %v", err)
	}
	if err := receive(t, "answer", send(t.Context(), u, telemetry(52))); !errors.Is(err, router.ErrUnavailable) {
		t.Fatalf("delivery without a connection: %v", err)
	}
	for i, a := range answers {
		if len(a) != 0 {
			t.Errorf("delivery %d was answered twice", i+1)
		}
	}
	select {
	case <-u.Available():
		t.Error("available without a connection")
	default:
	}
}

func TestSilentParentIsLeftForTheNextAddress(t *testing.T) {
	p := newParent(t)
	first, second := proxy(t, p.tcp), proxy(t, p.tcp)
	u := start(t, testConfig("mqtt://"+first.Addr(), "mqtt://"+second.Addr()))
	receive(t, "the link", u.Available())
	first.Freeze()
	lost := send(t.Context(), u, telemetry(1))
	if err := receive(t, "answer", lost); !errors.Is(err, router.ErrUnavailable) {
		t.Fatalf("delivery on a frozen link: %v", err)
	}
	pump(t, u, 3, nil)
	if st := u.Status(); st.Address != "mqtt://"+second.Addr() || st.Reconnects != 1 {
		t.Errorf("status: %+v", st)
	}
	if n := first.Accepted(); n != 1 {
		t.Errorf("the silent address was tried %d times", n)
	}
}

func TestUnreachableAddressesAreTriedInTurn(t *testing.T) {
	p := newParent(t)
	dead := proxy(t, p.tcp)
	dead.Refuse(true)
	u := start(t, testConfig("mqtt://"+dead.Addr(), "mqtt://"+p.tcp))
	receive(t, "the link", u.Available())
	if st := u.Status(); st.State != Connected || st.Address != "mqtt://"+p.tcp || st.LastError != "" {
		t.Errorf("status: %+v", st)
	}
}

func TestParentThatNeverAcknowledges(t *testing.T) {
	p := newParent(t)
	p.withhold = true
	cfg := testConfig("mqtt://" + p.tcp)
	cfg.AckTimeout = 50 * time.Millisecond
	u := start(t, cfg)
	receive(t, "the link", u.Available())
	err := receive(t, "answer", send(t.Context(), u, telemetry(1)))
	if !errors.Is(err, router.ErrUnavailable) || !errors.Is(err, errSilent) {
		t.Fatalf("answer: %v", err)
	}
}

func TestRefusedCredentials(t *testing.T) {
	p := newParent(t)
	p.badKey = true
	cfg := testConfig("mqtt://" + p.tcp)
	cfg.MinBackoff, cfg.MaxBackoff = time.Hour, time.Hour
	u := start(t, cfg)
	eventually(t, "refusal", func() bool { return u.Status().State == Down && u.Status().LastError != "" })
	st := u.Status()
	if !strings.Contains(st.LastError, ErrCredentials.Error()) || st.NextAttempt.Before(time.Now()) {
		t.Errorf("status: %+v", st)
	}
	if n := p.count(func() int { return p.refused }); n != 1 {
		t.Errorf("%d attempts before the back-off", n)
	}
	p.set(func() { p.badKey = false })
	u.Cut()
	u.Restore() // an operator need not wait
	receive(t, "the link", u.Available())
}

func TestWrongClockHealsWithTheClock(t *testing.T) {
	p := newParent(t)
	var jumped = make(chan struct{})
	cfg := testConfig("mqtt://" + p.tcp)
	cfg.Now = func() time.Time {
		select {
		case <-jumped:
			return time.Now()
		default:
			return time.Unix(0, 0)
		}
	}
	u := start(t, cfg)
	eventually(t, "refusals", func() bool { return p.count(func() int { return p.refused }) >= 2 })
	close(jumped)
	receive(t, "the link", u.Available())
}

func TestRenewalLosesNothing(t *testing.T) {
	p := newParent(t)
	link := proxy(t, p.tcp)
	link.Delay(2 * time.Millisecond)
	cfg := testConfig("mqtt://" + link.Addr())
	cfg.TokenLife = time.Second
	u := start(t, cfg)
	receive(t, "the link", u.Available())
	answers := make(chan error, 1<<20)
	n := 0
	for u.Status().Renewals < 2 {
		n++
		u.Deliver(t.Context(), telemetry(uint64(n)), func(err error) { answers <- err })
	}
	for range n {
		if err := receive(t, "answer", answers); err != nil {
			t.Fatalf("a delivery failed during renewal: %v", err)
		}
	}
	if repeated := p.inOrder(t, n); repeated != 0 {
		t.Errorf("%d messages were sent twice", repeated)
	}
	var gap time.Duration
	for i := range p.at[1:] {
		gap = max(gap, p.at[i+1].Sub(p.at[i]))
	}
	t.Logf("%d messages, longest gap %v", n, gap)
	if st := u.Status(); st.Reconnects != 0 || len(p.tokens) != 3 {
		t.Errorf("%d tokens; status: %+v", len(p.tokens), st)
	}
}

func TestRenewalThatFailsLeavesTheSessionAlone(t *testing.T) {
	p := newParent(t)
	cfg := testConfig("mqtt://" + p.tcp)
	cfg.TokenLife = 200 * time.Millisecond
	u := start(t, cfg)
	receive(t, "the link", u.Available())
	p.set(func() { p.badKey = true })
	eventually(t, "a refused renewal", func() bool { return p.count(func() int { return p.refused }) >= 1 })
	if err := receive(t, "answer", send(t.Context(), u, telemetry(1))); err != nil {
		t.Fatal(err)
	}
	if st := u.Status(); st.State != Connected || st.Reconnects != 0 {
		t.Errorf("status: %+v", st)
	}
}

func TestCutAndRestore(t *testing.T) {
	p := newParent(t)
	p.withhold = true
	u := start(t, testConfig("mqtt://"+p.tcp))
	receive(t, "the link", u.Available())
	under := send(t.Context(), u, telemetry(1))
	eventually(t, "in flight", func() bool { return p.received() == 1 })
	u.Cut()
	if err := receive(t, "answer", under); !errors.Is(err, router.ErrUnavailable) || !errors.Is(err, errCut) {
		t.Fatalf("answer after the cut: %v", err)
	}
	eventually(t, "no client at the parent", func() bool { return p.server.Info.Clone().ClientsConnected == 0 })
	if st := u.Status(); st.State != Cut || !st.NextAttempt.IsZero() {
		t.Errorf("status when cut: %+v", st)
	}
	p.set(func() { p.withhold = false })
	u.Restore()
	pump(t, u, 2, nil)
	if st := u.Status(); st.State != Connected || st.Reconnects != 1 {
		t.Errorf("status when restored: %+v", st)
	}
}

func TestWhatWasGivenUpIsNotSent(t *testing.T) {
	p := newParent(t)
	cfg := testConfig("mqtt://" + p.tcp)
	cfg.MessagesPerSecond = 4 // the burst is one message
	u := start(t, cfg)
	receive(t, "the link", u.Available())
	ctx, cancel := context.WithCancel(t.Context())
	first, second := send(ctx, u, telemetry(1)), send(ctx, u, telemetry(2))
	third := send(t.Context(), u, telemetry(3))
	if err := receive(t, "first answer", first); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := receive(t, "second answer", second); !errors.Is(err, router.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Fatalf("second answer: %v", err)
	}
	if err := receive(t, "third answer", third); err != nil {
		t.Fatal(err)
	}
	if n := p.received(); n != 2 {
		t.Errorf("the parent has %d messages, want 2", n)
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	p := newParent(t)
	cfg := testConfig("mqtt://" + p.tcp)
	cfg.MaxMessage = 100 << 10
	u := start(t, cfg)
	receive(t, "the link", u.Available())
	large := telemetry(1)
	large.Body = make([]byte, 100<<10+1)
	long := telemetry(2)
	long.Properties = []message.Property{{Name: "p", Value: strings.Repeat("&", 30<<10)}}
	for _, d := range []*message.Delivery{large, long} {
		if err := receive(t, "answer", send(t.Context(), u, d)); !errors.Is(err, router.ErrPermanent) {
			t.Errorf("message %d: %v", d.Seq, err)
		}
	}
	large.Body = large.Body[1:]
	if err := receive(t, "answer", send(t.Context(), u, large)); err != nil {
		t.Errorf("the largest message: %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	good := testConfig("mqtt://127.0.0.1:1")
	for name, change := range map[string]func(*Config){
		"no address":    func(c *Config) { c.Addresses = nil },
		"scheme":        func(c *Config) { c.Addresses = []string{"http://x"} },
		"password":      func(c *Config) { c.Addresses = []string{"mqtt://a:b@x"} },
		"device":        func(c *Config) { c.Device = "a/b" },
		"credentials":   func(c *Config) { c.Key = "" },
		"key":           func(c *Config) { c.Key = "not base64!" },
		"half a pair":   func(c *Config) { c.TLS.CertFile = "x" },
		"missing CA":    func(c *Config) { c.TLS.CAFile = "nowhere.pem" },
		"epoch":         func(c *Config) { c.Epoch = "" },
		"window":        func(c *Config) { c.Window = 1 << 16 },
		"negative rate": func(c *Config) { c.BytesPerSecond = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
