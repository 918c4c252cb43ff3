package cloudhub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/cloudhub/api"
	"github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/cloudhub/ingress"
	"github.com/penstock-io/penstock/cloudhub/registry"
	"github.com/penstock-io/penstock/cloudhub/stream"
)

const (
	openTimeout = 5 * time.Minute // reading the whole stream without a snapshot takes its time

	// drainTime is what messages under way have to be stored in when the hub
	// stops. It is longer than one attempt at the stream.
	drainTime = 6 * time.Second
)

// Hub is a cloud.
type Hub struct {
	cfg   Config
	log   *slog.Logger
	close []func() // in the order opened

	server   *stream.Server // nil with an external cluster
	stream   *stream.Stream
	registry *registry.Registry
	ingress  *ingress.Ingress
	broker   *broker.Broker
	listener net.Listener
	http     *http.Server
	metrics  *prometheus.Registry
}

// New opens the state, the stream, the registry and the listeners. A Hub that
// is not Run must be Closed.
func New(cfg Config, log *slog.Logger) (*Hub, error) {
	cfg.defaults()
	h := &Hub{cfg: cfg, log: log}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	if err := h.open(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Hub) open(ctx context.Context) error {
	st, err := openState(h.cfg.State)
	if err != nil {
		return err
	}
	h.close = append(h.close, st.close)
	// Before the stream: a port in use is told at once.
	if h.listener, err = net.Listen("tcp", h.cfg.API); err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	h.close = append(h.close, func() { _ = h.listener.Close() })
	if err := h.openStream(ctx, st); err != nil {
		return err
	}
	if h.registry, err = registry.Open(ctx, h.stream.JetStream(), h.cfg.Stream.Replicas, h.log); err != nil {
		return err
	}
	h.close = append(h.close, h.registry.Close)
	if err := h.registry.Seed(ctx, h.cfg.Devices); err != nil {
		return err
	}
	h.ingress, err = ingress.New(ctx, h.stream, ingress.Config{
		Snapshot: st.path("index.snapshot"), WaitingBytes: h.cfg.WaitingBytes, IDWindow: h.cfg.IDWindow,
	}, h.log)
	if err != nil {
		return err
	}
	if err := h.openAPI(st); err != nil {
		return err
	}
	return h.openBroker()
}

func (h *Hub) openStream(ctx context.Context, st *state) error {
	url, opts := h.cfg.NATS.URL, []nats.Option(nil)
	if h.cfg.NATS.Credentials != "" {
		opts = append(opts, nats.UserCredentials(h.cfg.NATS.Credentials))
	}
	if h.cfg.NATS.User != "" {
		opts = append(opts, nats.UserInfo(h.cfg.NATS.User, h.cfg.NATS.Password))
	}
	if url == "" {
		secret, err := token(st.path("nats.token"))
		if err != nil {
			return err
		}
		h.server, err = stream.StartServer(stream.ServerConfig{
			Dir: cmp.Or(h.cfg.NATS.Dir, st.path("nats")), Listen: h.cfg.NATS.Listen, Token: secret, Relaxed: h.cfg.NATS.Relaxed,
			MaxPayload: h.cfg.NATS.MaxPayload, MaxStore: h.cfg.NATS.MaxStore,
		}, h.log)
		if err != nil {
			return err
		}
		h.close = append(h.close, h.server.Shutdown)
		opts = h.server.InProcess()
	}
	nc, err := stream.Connect(url, opts...)
	if err != nil {
		return err
	}
	h.close = append(h.close, nc.Close)
	h.stream, err = stream.Open(ctx, nc, h.cfg.Stream)
	return err
}

func (h *Hub) openAPI(st *state) error {
	secret, err := token(cmp.Or(h.cfg.TokenFile, st.path("api.token")))
	if err != nil {
		return err
	}
	h.metrics = prometheus.NewRegistry()
	h.metrics.MustRegister(h.ingress.Collectors()...)
	h.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a := &api.API{
		Token: secret, Stream: h.stream, Ingress: h.ingress, Registry: h.registry,
		Metrics: h.metrics, Listen: h.Listening, Log: h.log,
	}
	h.http = &http.Server{
		Handler: a.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
	}
	return nil
}

// Run serves until ctx ends or a part fails, and closes the hub.
//
// Stop order: the API, for it only looks on; the broker, so that nothing new
// comes in, while the ingress still answers what is under way; then the ingress,
// which writes its snapshot; then the registry, and last connection and server.
func (h *Hub) Run(ctx context.Context) error {
	defer h.Close()
	h.log.Info("cloudhub is ready", "api", h.listener.Addr().String())
	parts, ctx := errgroup.WithContext(ctx)
	after, stopIngress := context.WithCancel(context.WithoutCancel(ctx))
	defer stopIngress()
	parts.Go(func() error { return h.ingress.Run(after) })
	parts.Go(func() error {
		defer stopIngress()
		// A sender that waits for room in an ingress whose stream is away would
		// hold the broker for ever: its time is limited.
		defer context.AfterFunc(ctx, func() { time.AfterFunc(drainTime, stopIngress) })()
		return h.broker.Run(ctx)
	})
	parts.Go(func() error { return h.registry.Run(ctx) })
	parts.Go(func() error { return h.serveAPI(ctx) })
	return parts.Wait()
}

func (h *Hub) serveAPI(ctx context.Context) error {
	h.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { _ = h.http.Close() }) // streams may be endless: nothing to wait for
	defer stop()
	if err := h.http.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve API: %w", err)
	}
	return nil
}

// Close releases everything New opened. Run does so itself; a second call does nothing.
func (h *Hub) Close() {
	for i := len(h.close) - 1; i >= 0; i-- {
		h.close[i]()
	}
	h.close = nil
}

// Listening tells where the hub can be reached: the ports that were bound.
func (h *Hub) Listening() client.Listening {
	l := client.Listening{API: h.listener.Addr().String(), MQTT: map[string]string{}}
	if h.server != nil && h.cfg.NATS.Listen != "" {
		l.NATS = h.server.Addr().String()
	}
	for _, b := range h.cfg.Broker.Listeners {
		if a := h.broker.Addr(b.Name); a != nil {
			l.MQTT[b.Name] = a.String()
		}
	}
	return l
}
