package broker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/message"
)

type instant struct{ ch chan *message.Batch }

func newInstant() *instant {
	a := &instant{ch: make(chan *message.Batch, 1000)}
	go func() {
		for b := range a.ch {
			b.Done(b, nil)
		}
	}()
	return a
}
func (a *instant) Accept(b *message.Batch) { a.ch <- b }

type everybody struct{}

func (everybody) Authenticate(c *identity.Connect) (*identity.Principal, error) {
	return &identity.Principal{User: c.Username}, nil
}
func (everybody) Allow(*identity.Principal, identity.Action, string) bool { return true }

func start(t *testing.T) *Broker {
	b, err := New(Config{Listeners: []Listener{{Name: "tcp", Address: "127.0.0.1:0"}}}, Deps{
		Acceptor: newInstant(), Guard: everybody{}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

func dial(t *testing.T, b *Broker, id string) paho.Client {
	o := paho.NewClientOptions().AddBroker("tcp://" + b.Addr("tcp").String()).SetClientID(id).SetAutoReconnect(false)
	c := paho.NewClient(o)
	tok := c.Connect()
	if !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		t.Fatal("connect", tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func TestSmoke(t *testing.T) {
	b := start(t)
	sub, pub := dial(t, b, "sub"), dial(t, b, "pub")
	got := make(chan string, 3000)
	tok := sub.Subscribe("a/#", 2, func(_ paho.Client, m paho.Message) { got <- fmt.Sprint(m.Topic(), " ", string(m.Payload()), " ", m.Qos()) })
	tok.Wait()
	for qos := byte(0); qos < 3; qos++ {
		for i := range 300 {
			tk := pub.Publish("a/b", qos, false, fmt.Sprint(i))
			if i == 299 && !tk.WaitTimeout(5*time.Second) {
				t.Fatal("no ack", qos)
			}
		}
		for i := range 300 {
			select {
			case g := <-got:
				if want := fmt.Sprint("a/b ", i, " ", qos); g != want {
					t.Fatalf("got %q want %q", g, want)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("missing", qos, i)
			}
		}
	}
	pub.Publish("r/1", 1, true, "kept").Wait()
	sub.Subscribe("r/+", 1, func(_ paho.Client, m paho.Message) { got <- fmt.Sprint(m.Topic(), m.Retained()) }).Wait()
	if g := <-got; g != "r/1true" {
		t.Fatal(g)
	}
}
