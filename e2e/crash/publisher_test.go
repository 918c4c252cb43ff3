package crash

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/iothub"
	"github.com/penstock-io/penstock/message"
)

const (
	window = 64  // publishes of one connection under way
	burst  = 256 // publishes between two looks at the plan
)

// publisher is one leaf device that numbers its messages from 1 and remembers
// which were acknowledged. After a lost connection it sends again from the first
// that was not, in order and with the same message ids.
type publisher struct {
	t      *testing.T
	addr   string
	device string
	body   string // filler of each message

	goal  func() uint64 // how many it should have sent by now
	sent  uint64        // highest number handed to a connection
	acked atomic.Uint64 // all up to here were acknowledged, none beyond
	again uint64        // messages sent more than once

	conn        *mqtttest.Client
	connections int
}

// run publishes towards the goal until ctx ends, then returns when everything it
// sent is acknowledged.
func (p *publisher) run(ctx context.Context) error {
	for ctx.Err() == nil {
		p.step(p.goal())
	}
	deadline := time.Now().Add(startTimeout)
	for p.acked.Load() < p.sent {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %d of %d messages are still not acknowledged", p.device, p.sent-p.acked.Load(), p.sent)
		}
		p.step(p.sent)
	}
	p.hangUp()
	return nil
}

// step sends some of what is missing to the goal, over a new connection if need
// be, or pauses.
func (p *publisher) step(goal uint64) {
	if p.conn == nil {
		p.conn = p.connect()
	}
	if p.conn == nil || goal <= p.acked.Load() {
		<-time.After(10 * time.Millisecond)
		return
	}
	if err := p.publish(min(goal, p.acked.Load()+burst)); err != nil {
		p.hangUp()
	}
}

func (p *publisher) hangUp() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

func (p *publisher) connect() *mqtttest.Client {
	c, err := mqtttest.DialError(p.t, p.addr, mqtttest.Timeout(20*time.Second))
	if err != nil {
		return nil
	}
	token, err := identity.SAS(identity.Resource(hubHost, p.device, ""), identity.Secret(key), time.Now().Add(time.Hour))
	if err != nil {
		p.t.Error(err)
		return nil
	}
	hello := mqtttest.Connect{ClientID: p.device, Username: hubHost + "/" + p.device + "/?api-version=2021-04-12", Password: token}
	if c.Write(hello.Bytes(c.Version())) == nil {
		if ack, err := c.Read(); err == nil && ack.Type == mqtttest.CONNACK && ack.Code == 0 {
			p.connections++
			return c
		}
	}
	c.Close()
	return nil
}

// publish sends everything that is not acknowledged up to the number to.
func (p *publisher) publish(to uint64) error {
	base := p.acked.Load()
	_, err := p.conn.Pipeline(int(to-base), window, func(i int) mqtttest.Publish {
		n := base + uint64(i) + 1
		dup := n <= p.sent
		if dup {
			p.again++
		}
		p.sent = max(p.sent, n)
		return p.message(n, dup)
	}, func(i int, code byte) {
		if n := base + uint64(i) + 1; n != p.acked.Load()+1 {
			p.t.Errorf("%s: message %d was acknowledged after %d", p.device, n, p.acked.Load())
		}
		p.acked.Add(1)
	})
	return err
}

func (p *publisher) message(n uint64, dup bool) mqtttest.Publish {
	m := message.Message{Device: p.device, System: []message.Property{
		{Name: message.SysMessageID, Value: fmt.Sprint(n)},
		{Name: message.SysContentType, Value: "application/json"},
	}}
	return mqtttest.Publish{
		Topic: string(iothub.AppendEventsTopic(nil, p.device, &m)), Dup: dup,
		Payload: fmt.Sprintf(`{"n":%d,"device":"%s","pad":"%s"}`, n, p.device, p.body),
	}
}

// crew is all publishers of one run.
type crew struct {
	each []*publisher
	stop context.CancelFunc
	done sync.WaitGroup
	errs chan error
}

// publishers start n leaf devices, each at perSecond messages with size filler bytes.
func publishers(r *rig, perSecond float64, size int) *crew {
	ctx, stop := context.WithCancel(context.Background())
	w := &crew{stop: stop, errs: make(chan error, leaves)}
	began := time.Now()
	for i := range leaves {
		w.each = append(w.each, &publisher{
			t: r.t, addr: r.front.Addr(), device: leafName(i), body: strings.Repeat("x", size),
			goal: func() uint64 { return uint64(time.Since(began).Seconds() * perSecond) },
		})
	}
	w.start(ctx)
	r.t.Cleanup(func() { stop(); w.done.Wait() })
	return w
}

func (w *crew) start(ctx context.Context) {
	for _, p := range w.each {
		w.done.Go(func() {
			if err := p.run(ctx); err != nil {
				w.errs <- err
			}
		})
	}
}

// acked counts all acknowledgements so far.
func (w *crew) acked() (n uint64) {
	for _, p := range w.each {
		n += p.acked.Load()
	}
	return n
}

// finish ends publishing once all that was sent is acknowledged.
func (w *crew) finish(t *testing.T) {
	t.Helper()
	w.stop()
	w.done.Wait()
	select {
	case err := <-w.errs:
		t.Fatal(err)
	default:
	}
}
