package pipeline

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/internal/mqtttest"
	"github.com/penstock-io/penstock/message"
)

// lines is a log that can be written and read at the same time.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// leaf connects as a device or module, as a well-behaved client.
func (s *site) leaf(device, module string) *leaf.Client {
	s.t.Helper()
	c, err := leaf.New(leaf.Options{Address: s.edge.Addr("mqtt"), Host: hubHost, Device: device, Module: module, Key: identity.Secret(key)})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Connect(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// raw connects as a device or module, packet by packet.
func (s *site) raw(version byte, device, module string) *mqtttest.Client {
	s.t.Helper()
	c := mqtttest.Dial(s.t, s.edge.Addr("mqtt"), mqtttest.Version(version), mqtttest.Timeout(patience))
	id := device
	if module != "" {
		id += "/" + module
	}
	token, err := identity.SAS(identity.Resource(hubHost, device, module), identity.Secret(key), time.Now().Add(time.Hour))
	if err != nil {
		s.t.Fatal(err)
	}
	c.Connect(mqtttest.Connect{ClientID: id, Username: hubHost + "/" + id + "/?api-version=2021-04-12", Password: token})
	return c
}

// plain connects as a plain client without credentials.
func (s *site) plain(version byte, id string) *mqtttest.Client {
	s.t.Helper()
	c := mqtttest.Dial(s.t, s.edge.Addr("mqtt"), mqtttest.Version(version), mqtttest.Timeout(patience))
	c.Connect(mqtttest.Connect{ClientID: id})
	return c
}

// telemetry is a JSON message with an id.
func telemetry(id, body string, properties ...message.Property) *message.Message {
	return &message.Message{QoS: 1, Body: []byte(body), Properties: properties, System: []message.Property{
		{Name: message.SysMessageID, Value: id},
		{Name: message.SysContentType, Value: "application/json"},
		{Name: message.SysContentEncoding, Value: "utf-8"},
	}}
}

// publish publishes and waits for all acknowledgements.
func publish(t *testing.T, c *leaf.Client, ms ...*message.Message) {
	t.Helper()
	var sent []*leaf.Sent
	for _, m := range ms {
		sent = append(sent, c.Publish(m))
	}
	for _, s := range sent {
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// oneSentence: what a user is told is one line and no stack trace.
func oneSentence(t *testing.T, text string, says ...string) {
	t.Helper()
	text = strings.TrimSpace(text)
	if text == "" || strings.Contains(text, "\n") || strings.Contains(text, "goroutine ") || len(text) > 400 {
		t.Errorf("want one clear sentence, got:\n%s", text)
	}
	for _, part := range says {
		if !strings.Contains(text, part) {
			t.Errorf("want a sentence with %q, got: %s", part, text)
		}
	}
}
