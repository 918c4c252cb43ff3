package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/broker"
	mt "github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/store"
)

// childDir makes this test binary a broker over the store in that directory.
const childDir = "PENSTOCK_BROKER_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if err := goleak.Find(
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
	); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func child(dir string) error {
	st, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		return err
	}
	b, err := broker.New(broker.Config{Listeners: []broker.Listener{{Name: "tcp", Address: "127.0.0.1:0"}}},
		broker.Deps{Acceptor: durable{st}, Guard: guard{}, Queues: queues{st}, Records: st, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	fmt.Println(b.Addr("tcp"))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with its parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return b.Run(ctx)
}

// process is a broker that can be killed.
type process struct {
	addr string
	kill func()
}

func spawn(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(kill)
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("child did not start: %v", err)
	}
	return &process{addr: strings.TrimSpace(addr), kill: kill}
}

func (p *process) join(t *testing.T, o mt.Connect) *mt.Client {
	t.Helper()
	c := mt.Dial(t, p.addr, mt.Version(mt.V5))
	c.Connect(o)
	return c
}

func TestKillKeepsWhatWasPromised(t *testing.T) {
	dir := t.TempDir()
	p := spawn(t, dir)
	sub := p.join(t, forever(mt.V5, "sub"))
	sub.Subscribe("q/#", 1)
	sub.Disconnect()
	p.join(t, mt.Connect{ClientID: "gone", Will: &mt.Publish{Topic: "q/will", Payload: "w", QoS: 1}})
	delayed := forever(mt.V5, "back")
	delayed.Will, delayed.WillProps = &mt.Publish{Topic: "q/not", Payload: "w", QoS: 1}, []mt.Prop{mt.Num(mt.WillDelay, 60)}
	p.join(t, delayed)
	pub := p.join(t, mt.Connect{ClientID: "pub"})
	for i := range 5 {
		pub.Publish(mt.Publish{Topic: "r", Payload: fmt.Sprint(i), QoS: 1, Retain: true})
	}
	const n = 2000
	if _, err := pub.Pipeline(n, 100, func(i int) mt.Publish { return mt.Publish{Topic: "q/x", Payload: fmt.Sprint(i)} }, nil); err != nil {
		t.Fatal(err)
	}
	p.kill()

	p = spawn(t, dir)
	p.join(t, forever(mt.V5, "back")).Disconnect() // before its will is due
	sub = mt.Dial(t, p.addr, mt.Version(mt.V5))
	if a := sub.Connect(forever(mt.V5, "sub")); !a.SessionPresent {
		t.Error("the session is gone")
	}
	for i := range n {
		if m := sub.Receive(); string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("got %s, want message %d", m, i)
		}
	}
	if m := sub.Receive(); m.Topic != "q/will" || string(m.Payload) != "w" {
		t.Errorf("got %s, want the will of the client that vanished", m)
	}
	pub = p.join(t, mt.Connect{ClientID: "pub"})
	pub.Publish(mt.Publish{Topic: "q/new", Payload: "x", QoS: 1})
	if m := sub.Receive(); m.Topic != "q/new" {
		t.Errorf("got %s, want what the kept subscription brings", m)
	}
	pub.Subscribe("r", 1)
	if m := pub.Receive(); string(m.Payload) != "4" || !m.Retain {
		t.Errorf("got %s, want the last retained message", m)
	}
}

// publisher keeps the sending side of QoS 2 across connections, as a client with
// a durable store would.
type publisher struct {
	next, end int
	sent      []int        // PUBLISH is out, PUBREC has not come, in order
	rel       map[int]bool // PUBREL is out
}

func (p *publisher) id(i int) uint16 { return uint16(i%1000 + 1) }

func (p *publisher) packet(i int, dup bool) []byte {
	return mt.Publish{Topic: "q", Payload: fmt.Sprint(i), QoS: 2, ID: p.id(i), Dup: dup}.Bytes(mt.V5)
}

// run publishes until all is done (nil) or the connection fails.
func (p *publisher) run(c *mt.Client) error {
	var again []byte
	for _, i := range p.sent {
		again = append(again, p.packet(i, true)...)
	}
	for i := range p.rel {
		again = append(again, mt.Ack(mt.V5, mt.PUBREL, p.id(i), 0)...)
	}
	if err := c.Write(again); err != nil {
		return err
	}
	for p.next < p.end || len(p.sent)+len(p.rel) > 0 {
		for p.next < p.end && len(p.sent)+len(p.rel) < 50 {
			p.sent = append(p.sent, p.next)
			p.next++
			if err := c.Write(p.packet(p.next-1, false)); err != nil {
				return err
			}
		}
		a, err := c.Read()
		if err != nil {
			return err
		}
		if err := p.take(c, a); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) take(c *mt.Client, a mt.Packet) error {
	switch a.Type {
	case mt.PUBREC:
		k := slices.IndexFunc(p.sent, func(i int) bool { return p.id(i) == a.ID })
		if k < 0 || a.Code != 0 {
			return fmt.Errorf("unexpected %s", a)
		}
		p.rel[p.sent[k]] = true
		p.sent = slices.Delete(p.sent, k, k+1)
		return c.Write(mt.Ack(mt.V5, mt.PUBREL, a.ID, 0))
	case mt.PUBCOMP:
		for i := range p.rel {
			if p.id(i) == a.ID {
				delete(p.rel, i)
			}
		}
	}
	return nil
}

// receiver keeps the receiving side of QoS 2 across connections.
type receiver struct {
	got  []int
	open map[uint16]bool // taken, not yet released
}

func (r *receiver) run(c *mt.Client, end int) error {
	for len(r.got) < end || len(r.open) > 0 {
		m, err := c.Read()
		if err != nil {
			return err
		}
		switch m.Type {
		case mt.PUBLISH:
			if !r.open[m.ID] {
				n, err := strconv.Atoi(string(m.Payload))
				if err != nil {
					return err
				}
				r.got = append(r.got, n)
			}
			r.open[m.ID] = true
			err = c.Write(mt.Ack(mt.V5, mt.PUBREC, m.ID, 0))
		case mt.PUBREL:
			delete(r.open, m.ID)
			err = c.Write(mt.Ack(mt.V5, mt.PUBCOMP, m.ID, 0))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestKillDuringQoS2IsExactlyOnceBothWays(t *testing.T) {
	const n = 10_000
	dir := t.TempDir()
	p := spawn(t, dir)
	p.join(t, forever(mt.V5, "sub")).Subscribe("q", 2)
	pub := &publisher{end: n, rel: map[int]bool{}}
	sub := &receiver{open: map[uint16]bool{}}
	rounds := 0
	for done := false; !done; rounds++ {
		if rounds > 200 {
			t.Fatalf("after %d kills %d are sent and %d received", rounds, pub.next, len(sub.got))
		}
		ps, ss := p.join(t, forever(mt.V5, "pub")), p.join(t, forever(mt.V5, "sub"))
		ended := make(chan error, 2)
		go func() { ended <- pub.run(ps) }()
		go func() { ended <- sub.run(ss, n) }()
		if rounds < 8 {
			timer := time.NewTimer(time.Duration(20+rand.IntN(60)) * time.Millisecond)
			<-timer.C
			p.kill()
		}
		a, b := <-ended, <-ended
		done = a == nil && b == nil
		for _, err := range []error{a, b} {
			var unexpected interface{ Timeout() bool }
			if err != nil && (errors.As(err, &unexpected) && unexpected.Timeout() || strings.Contains(err.Error(), "unexpected")) {
				t.Fatal(err)
			}
		}
		ps.Close()
		ss.Close()
		if !done && rounds < 8 {
			p = spawn(t, dir)
		}
	}
	if len(sub.got) != n {
		t.Errorf("%d messages arrived, want %d", len(sub.got), n)
	}
	for i, got := range sub.got {
		if got != i {
			t.Fatalf("message %d arrived in place of %d, after %d kills", got, i, rounds)
		}
	}
	t.Logf("%d kills", rounds-1)
}
