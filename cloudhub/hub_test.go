package cloudhub

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

var key = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))

func config(dir string) Config {
	return Config{
		State: dir, API: "127.0.0.1:0", NATS: NATS{Listen: "127.0.0.1:0"},
		Broker:  broker.Config{Listeners: []broker.Listener{{Name: "local", Address: "127.0.0.1:0"}}},
		Devices: []identity.Device{{ID: "press-7", Key: identity.Secret(key), Edge: true, Modules: []identity.Module{{ID: "sensor"}}}},
	}
}

// start runs a hub; stop ends it and waits.
func start(t *testing.T, cfg Config) (h *Hub, c *client.Client, stop func()) {
	t.Helper()
	h, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the hub does not stop")
		}
		http.DefaultClient.CloseIdleConnections()
	}
	t.Cleanup(stop)
	token, err := os.ReadFile(filepath.Join(cfg.State, "api.token"))
	if err != nil {
		t.Fatal(err)
	}
	return h, client.New("http://"+h.Listening().API, strings.TrimSpace(string(token))), stop
}

// connect logs in as a device over MQTT in the IoT Hub dialect.
func connect(t *testing.T, h *Hub, device string) paho.Client {
	t.Helper()
	password, err := identity.SAS(identity.Resource("hub", device, ""), identity.Secret(key), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	o := paho.NewClientOptions().AddBroker("tcp://" + h.Listening().MQTT["local"]).SetAutoReconnect(false)
	o.SetClientID(device).SetUsername("hub/" + device + "/?api-version=2021-04-12").SetPassword(password)
	c := paho.NewClient(o)
	if tok := c.Connect(); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatalf("connect: %v", tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func publish(t *testing.T, c paho.Client, topic, body string) {
	t.Helper()
	if tok := c.Publish(topic, 1, false, body); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatalf("publish: %v", tok.Error())
	}
}

func collect(t *testing.T, c *client.Client, q client.Query) []client.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all []client.Message
	if err := c.Messages(ctx, q, func(m *client.Message) error {
		all = append(all, *m)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDeviceToStreamToReader(t *testing.T) {
	dir := t.TempDir()
	h, c, stop := start(t, config(dir))
	leaf := connect(t, h, "press-7")
	const events = "devices/press-7/messages/events/"
	publish(t, leaf, events+"$.mid=m-1&alert=yes&unit=%C2%B0C", `{"t": 25}`)
	publish(t, leaf, events+"$.mid=m-1&alert=yes&unit=%C2%B0C", `{"t": 25}`)
	publish(t, leaf, events, "plain <text>")
	publish(t, leaf, events, "\xff\x00")
	for i := range uint64(3) {
		publish(t, leaf, events+fmt.Sprintf("penstock-seq=abc.%d.1", i+1), "42")
	}
	publish(t, leaf, events+"penstock-seq=abc.2.1", "42")
	leaf.Disconnect(0)

	all := collect(t, c, client.Query{})
	if len(all) != 6 {
		t.Fatalf("%d messages in the stream, want 6: %+v", len(all), all)
	}
	m := all[0]
	unit := "°C"
	yes := "yes"
	if diff := cmp.Diff([]client.Property{{Name: "alert", Value: &yes}, {Name: "unit", Value: &unit}}, m.Properties); diff != "" {
		t.Error(diff)
	}
	if m.Device != "press-7" || m.Subject != "hub.messages.press-7" || m.Kind != "telemetry" || string(m.Body) != `{"t":25}` || time.Since(m.Accepted) > patience {
		t.Errorf("message: %+v", m)
	}
	for i, want := range []string{1: "plain <text>", 2: "\xff\x00", 3: "42"} {
		if got, err := all[i].Payload(); i > 0 && (err != nil || string(got) != want) {
			t.Errorf("body %d: %q %v", i, got, err)
		}
	}
	if o := all[4].Origin; o == nil || *o != (client.Origin{Device: "press-7", Epoch: "abc", Seq: 2}) {
		t.Errorf("origin: %+v", o)
	}
	checkLedger(t, c)
	stop()

	_, c, _ = start(t, config(dir))
	checkLedger(t, c)
	if got := collect(t, c, client.Query{Device: "press-7", Limit: 4}); len(got) != 4 {
		t.Errorf("limit: %d messages", len(got))
	}
	for name, q := range map[string]client.Query{
		"device": {Device: "nobody"}, "module": {Module: "sensor"}, "subject": {Subject: "hub.messages.*.>"}, "since": {Since: time.Now().Add(time.Hour)},
	} {
		if got := collect(t, c, q); len(got) != 0 {
			t.Errorf("filter by %s lets %d messages through", name, len(got))
		}
	}
}

func checkLedger(t *testing.T, c *client.Client) {
	t.Helper()
	l, err := c.Ledger(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := client.Ledger{Last: 6, Direct: 3, DirectDuplicates: 1, Entries: []client.LedgerEntry{
		{Device: "press-7", Epoch: "abc", Stored: 3, Duplicates: 1, Floor: 1, Ranges: []client.Range{{From: 1, To: 3}}},
	}}
	if diff := cmp.Diff(want, l); diff != "" {
		t.Error(diff)
	}
}

// An edge hub that drains one priority of a long outage leaves more gaps than
// one answer of the API lists.
func TestLedgerIsCompleteBeyondOnePage(t *testing.T) {
	h, c, _ := start(t, config(t.TempDir()))
	const gaps = 10_000
	b := &message.Batch{Messages: make([]message.Message, gaps)}
	want := make([]client.Range, gaps)
	for i := range b.Messages {
		seq := uint64(2*i + 1)
		b.Messages[i] = message.Message{Device: "press-7", Origin: message.Origin{Device: "press-7", Epoch: "e", Seq: seq, Floor: 1}}
		want[i] = client.Range{From: seq, To: seq}
	}
	done := make(chan []error, 1)
	b.Done = func(_ *message.Batch, errs []error) { done <- errs }
	h.ingress.Accept(b)
	if errs := <-done; errs != nil {
		t.Fatal(errs)
	}
	l, err := c.Ledger(t.Context(), "press-7")
	if err != nil || len(l.Entries) != 1 {
		t.Fatal(l, err)
	}
	if diff := cmp.Diff(want, l.Entries[0].Ranges); diff != "" || l.Entries[0].Stored != gaps || l.Entries[0].More != 0 {
		t.Error(diff)
	}
}

// A device whose store was restored from a backup is not acknowledged, and shown.
func TestRestoredEdgeIsShown(t *testing.T) {
	h, c, _ := start(t, config(t.TempDir()))
	leaf := connect(t, h, "press-7")
	const events = "devices/press-7/messages/events/penstock-seq="
	publish(t, leaf, events+"abc.1.1", "1")
	publish(t, leaf, events+"abc.90.90", "90")
	if tok := leaf.Publish(events+"abc.40.40", 1, false, "40"); tok.WaitTimeout(patience) && tok.Error() == nil {
		t.Error("acknowledged although the stream has another message under that sequence, or had")
	}
	st, err := c.Status(t.Context())
	if err != nil || !cmp.Equal(st.Ingress.Restored, []string{"press-7"}) {
		t.Errorf("%+v %v", st, err)
	}
	if l, err := c.Ledger(t.Context(), "press-7"); err != nil || l.Entries[0].Restored == 0 {
		t.Errorf("%+v %v", l, err)
	}
}

func TestMessagesFollow(t *testing.T) {
	h, c, _ := start(t, config(t.TempDir()))
	leaf := connect(t, h, "press-7")
	publish(t, leaf, "devices/press-7/messages/events/", "old")
	got := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Messages(ctx, client.Query{Follow: true, Since: time.Now().Add(-time.Hour)}, func(m *client.Message) error {
			body, err := m.Payload()
			got <- string(body)
			return err
		})
	}()
	for i, want := range []string{"old", "new", "newer"} {
		if i > 0 {
			publish(t, leaf, "devices/press-7/messages/events/", want)
		}
		select {
		case body := <-got:
			if body != want {
				t.Fatalf("got %q, want %q", body, want)
			}
		case <-time.After(patience):
			t.Fatal("nothing came")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestRegistryDecidesWhoComesIn(t *testing.T) {
	h, c, _ := start(t, config(t.TempDir()))
	if _, err := c.PutDevice(t.Context(), client.Device{ID: "new.one", Key: key}); err != nil {
		t.Fatal(err)
	}
	connect(t, h, "new.one").Disconnect(0)
	made, err := c.PutDevice(t.Context(), client.Device{ID: "made", Edge: true, Modules: []client.Module{{ID: "m"}}})
	if err != nil || made.Key == "" || made.Modules[0].Key == "" || made.Status != client.Enabled {
		t.Fatalf("%+v %v", made, err)
	}
	hidden, err := c.Device(t.Context(), "made", false)
	if err != nil || hidden.Key != "" || !hidden.Edge {
		t.Errorf("%+v %v", hidden, err)
	}
	if shown, err := c.Device(t.Context(), "made", true); err != nil || shown.Key != made.Key {
		t.Errorf("%+v %v", shown, err)
	}
	if ds, err := c.Devices(t.Context()); err != nil || len(ds) != 3 || ds[0].Key != "" {
		t.Errorf("%+v %v", ds, err)
	}
	if err := c.DeleteDevice(t.Context(), "made"); err != nil {
		t.Fatal(err)
	}
	var fault *client.Error
	if _, err := c.Device(t.Context(), "made", true); !errors.As(err, &fault) || fault.Status != http.StatusNotFound {
		t.Errorf("err = %v", err)
	}
	if _, err := c.PutDevice(t.Context(), client.Device{ID: "made", Status: "tired"}); !errors.As(err, &fault) || fault.Status != http.StatusUnprocessableEntity {
		t.Errorf("err = %v", err)
	}
}

func TestDisabledDeviceIsSentAway(t *testing.T) {
	h, c, _ := start(t, config(t.TempDir()))
	leaf := connect(t, h, "press-7")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d, err := c.Device(ctx, "press-7", false)
	if err != nil {
		t.Fatal(err)
	}
	d.Status = client.Disabled
	if _, err := c.PutDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for leaf.IsConnectionOpen() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("a disabled device stays connected")
		}
	}
}

func TestNATSClientsReadTheStream(t *testing.T) {
	dir := t.TempDir()
	h, _, _ := start(t, config(dir))
	publish(t, connect(t, h, "press-7"), "devices/press-7/messages/events/a=b%26c", "hello")
	token, err := os.ReadFile(filepath.Join(dir, "nats.token"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nats.Connect("nats://" + h.Listening().NATS); err == nil {
		t.Error("a client without token was let in")
	}
	nc, err := nats.Connect("nats://"+h.Listening().NATS, nats.Token(strings.TrimSpace(string(token))))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	m, err := js.GetMsg("HUB_MESSAGES", 1)
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != "hub.messages.press-7" || string(m.Data) != "hello" || m.Header.Get("Penstock-Properties") != "a=b%26c" || m.Header.Get("Penstock-Device") != "press-7" {
		t.Errorf("%+v", m)
	}
}

func TestExternalCluster(t *testing.T) {
	srv, err := stream.StartServer(stream.ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: "secret"}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t.TempDir())
	cfg.NATS = NATS{URL: "nats://secret@" + srv.Addr().String()}
	cfg.Stream = stream.Config{Name: "OURS", Prefix: "plant.seven"}
	h, c, stop := start(t, cfg)
	publish(t, connect(t, h, "press-7"), "devices/press-7/messages/events/", "1")
	if all := collect(t, c, client.Query{Device: "press-7"}); len(all) != 1 || all[0].Subject != "plant.seven.press-7" {
		t.Errorf("%+v", all)
	}
	stop()
	srv.Shutdown()
	if _, err := New(cfg, quiet()); err == nil || !strings.Contains(err.Error(), "connect to NATS") {
		t.Errorf("without the cluster: %v", err)
	}
}

// The cluster is away: a message is not acknowledged, the hub says so, and it
// still stops when told to.
func TestStopsWithoutItsStream(t *testing.T) {
	srv, err := stream.StartServer(stream.ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: "secret"}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t.TempDir())
	cfg.NATS = NATS{URL: "nats://secret@" + srv.Addr().String()}
	h, _, stop := start(t, cfg)
	leaf := connect(t, h, "press-7")
	srv.Shutdown()
	tok := leaf.Publish("devices/press-7/messages/events/", 1, false, "1")
	deadline := time.Now().Add(patience)
	for status := 0; status != http.StatusServiceUnavailable; status, _ = get(t, "http://"+h.Listening().API+"/ready") {
		if time.Now().After(deadline) {
			t.Fatal("the hub is ready without its stream")
		}
		<-time.After(10 * time.Millisecond)
	}
	stop()
	if tok.WaitTimeout(0) && tok.Error() == nil {
		t.Error("acknowledged without a stream")
	}
}

func get(t *testing.T, url string) (status int, contentType string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode, res.Header.Get("Content-Type")
}

func TestAPIDoor(t *testing.T) {
	h, c, _ := start(t, config(t.TempDir()))
	base := "http://" + h.Listening().API
	for path, want := range map[string]int{
		"/live": 200, "/ready": 200, "/metrics": 200, "/api/v1/status": 401, "/api/v1/devices": 401, "/api/v1/messages": 401, "/api/v1/ledger": 401,
	} {
		status, form := get(t, base+path)
		if status != want || status == 401 && form != "application/problem+json" {
			t.Errorf("%s: %d %s", path, status, form)
		}
	}
	st, err := c.Status(t.Context())
	if err != nil || !st.Ready || st.Devices != 1 || st.Listen.MQTT["local"] == "" {
		t.Errorf("%+v %v", st, err)
	}
	var fault *client.Error
	if err := c.Messages(t.Context(), client.Query{Device: "a", Subject: "b"}, nil); !errors.As(err, &fault) || fault.Status != http.StatusBadRequest {
		t.Errorf("err = %v", err)
	}
}

func TestMetricsCountWhatTheBrokerSaw(t *testing.T) {
	h, _, _ := start(t, config(t.TempDir()))
	publish(t, connect(t, h, "press-7"), "devices/press-7/messages/events/", "1")
	res, err := http.Get("http://" + h.Listening().API + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"cloudhub_mqtt_connections 1", "cloudhub_mqtt_accepted_total 1", "cloudhub_ingress_stored_total 1", "cloudhub_mqtt_panics_total 0"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

func TestClosedHubThatNeverRanLeavesNothingBehind(t *testing.T) {
	cfg := config(t.TempDir())
	for range 2 {
		h, err := New(cfg, quiet())
		if err != nil {
			t.Fatal(err)
		}
		l := h.Listening() // the ports of the next, which must be free again
		cfg.API, cfg.NATS.Listen, cfg.Broker.Listeners[0].Address = l.API, l.NATS, l.MQTT["local"]
		h.Close()
	}
	_, _, stop := start(t, cfg)
	stop()
}

func TestStateIsGuarded(t *testing.T) {
	dir := t.TempDir()
	_, _, stop := start(t, config(dir))
	if _, err := New(config(dir), quiet()); !errors.Is(err, ErrLocked) {
		t.Errorf("a second hub: %v", err)
	}
	stop()
	if info, err := os.Stat(filepath.Join(dir, "api.token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token: %v %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "VERSION"), []byte("penstock cloudhub state 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config(dir), quiet()); !errors.Is(err, ErrVersion) || strings.Contains(err.Error(), "\n") {
		t.Errorf("an unknown version: %v", err)
	}
}

func TestWhatIsInTheWayIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"api":    func(c *Config) { c.API = taken.Addr().String() },
		"nats":   func(c *Config) { c.NATS.Listen = taken.Addr().String() },
		"mqtt":   func(c *Config) { c.Broker.Listeners[0].Address = taken.Addr().String() },
		"folder": func(c *Config) { c.State = filepath.Join(file, "state") },
		"none":   func(c *Config) { c.State = "" },
	} {
		cfg := config(t.TempDir())
		change(&cfg)
		if _, err := New(cfg, quiet()); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Log(err)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
