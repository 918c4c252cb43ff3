package edgehub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/store"
)

// api serves the local API: on a Unix socket that only this user may open, and
// on loopback HTTP where the configuration asks for it.
type api struct {
	h         *Hub
	log       *slog.Logger
	server    *http.Server
	listeners []net.Listener
}

const (
	maxSocketPath = 100 // the kernel's limit is 107 bytes
	maxPage       = 1000
	maxRequest    = 1 << 20
)

func newAPI(h *Hub) (*api, error) {
	a := &api{h: h, log: h.log}
	if err := a.listenUnix(h.cfg.API.Socket); err != nil {
		return nil, err
	}
	if addr := h.cfg.API.Listen; addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			a.close()
			return nil, fmt.Errorf("listen for the API on %s: %w", addr, err)
		}
		a.listeners = append(a.listeners, l)
	}
	a.server = &http.Server{
		Handler: local(a.routes()), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
	}
	return a, nil
}

// listenUnix replaces the socket of a hub that is gone. The store's lock, taken
// before, says that there is no other hub on this state folder.
func (a *api) listenUnix(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("api.socket: %s is longer than %d bytes, the most a Unix socket's path may have: set api.socket to a shorter one", path, maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("api.socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("api.socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("api.socket: %w", err)
	}
	a.listeners = append(a.listeners, l)
	return nil
}

func (a *api) routes() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(a.h.router, newCollector(a.h))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { reply(w, map[string]string{"status": "live"}) })
	mux.HandleFunc("GET /ready", a.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, a.h.Status()) })
	mux.HandleFunc("GET /v1/ledger", func(w http.ResponseWriter, _ *http.Request) { reply(w, a.h.router.Ledger()) })
	mux.HandleFunc("GET /v1/sequences", a.withQueue(a.sequences))
	mux.HandleFunc("GET /v1/queue/peek", a.withQueue(a.peek))
	mux.HandleFunc("GET /v1/queue/dead", a.withQueue(a.dead))
	mux.HandleFunc("POST /v1/queue/requeue", a.withQueue(a.requeue))
	mux.HandleFunc("POST /v1/queue/purge", a.withQueue(a.purge))
	mux.HandleFunc("POST /v1/uplink/cut", a.uplink(func() { a.h.uplink.Cut() }))
	mux.HandleFunc("POST /v1/uplink/restore", a.uplink(func() { a.h.uplink.Restore() }))
	return mux
}

// ready says whether messages are being taken.
func (a *api) ready(w http.ResponseWriter, _ *http.Request) {
	switch st := a.h.store.Stats(); {
	case st.Broken:
		problem(w, http.StatusServiceUnavailable, "the store failed to write: restart the hub")
	case st.DiskFull:
		problem(w, http.StatusServiceUnavailable, "the disk is full: messages are refused until there is room")
	default:
		reply(w, map[string]string{"status": "ready"})
	}
}

// local refuses what a web page in a browser on this machine sends to the
// loopback listener: pages carry an origin, or come under a name of their own.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		ip := net.ParseIP(host)
		named := host == "localhost" || host == "edgehub" || ip != nil && ip.IsLoopback()
		if !named || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			problem(w, http.StatusForbidden, "this API is for programs on this machine, not for web pages")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *api) run(ctx context.Context) error {
	failed := make(chan error, len(a.listeners))
	for _, l := range a.listeners {
		go func() { failed <- a.server.Serve(l) }()
	}
	var err error
	left := len(a.listeners)
	select {
	case <-ctx.Done():
	case err = <-failed:
		left--
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if a.server.Shutdown(stop) != nil {
		_ = a.server.Close()
	}
	for range left {
		<-failed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (a *api) close() {
	for _, l := range a.listeners {
		l.Close()
	}
}

// withQueue finds the queue a request names. Naming a queue never creates it.
func (a *api) withQueue(f func(q *store.Queue, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("queue")
		known := false
		for _, q := range a.h.store.Queues() {
			known = known || q == name
		}
		if !known {
			problem(w, http.StatusNotFound, fmt.Sprintf("there is no queue %q", name))
			return
		}
		q, err := a.h.store.Queue(name)
		if err != nil {
			problem(w, http.StatusInternalServerError, err.Error())
			return
		}
		answer, err := f(q, r)
		switch {
		case errors.Is(err, errBadRequest):
			problem(w, http.StatusBadRequest, err.Error())
		case err != nil:
			problem(w, http.StatusInternalServerError, err.Error())
		default:
			reply(w, answer)
		}
	}
}

var errBadRequest = errors.New("bad request")

func (a *api) sequences(q *store.Queue, _ *http.Request) (any, error) {
	// Head first: what is settled between the reads is then no sequence unheard of.
	s := client.Sequences{Epoch: a.h.store.Epoch(), Next: q.Head(), Floor: q.Floor()}
	for _, acc := range a.h.store.Ledger() {
		if acc.Queue == q.Name() {
			s.Queued += acc.Queued
		}
	}
	for _, e := range q.Exceptions() {
		s.Exceptions = append(s.Exceptions, client.Exception{First: e.First, Last: e.Last, Count: e.Count, Reason: e.Reason})
	}
	return s, nil
}

func page(r *http.Request) (from uint64, limit int, err error) {
	limit = 100
	if v := r.URL.Query().Get("from"); v != "" {
		if from, err = strconv.ParseUint(v, 10, 64); err != nil {
			return 0, 0, fmt.Errorf("%w: from is %q, want a sequence", errBadRequest, v)
		}
	}
	if v := r.URL.Query().Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > maxPage {
			return 0, 0, fmt.Errorf("%w: limit is %q, want 1 to %d", errBadRequest, v, maxPage)
		}
	}
	return from, limit, nil
}

func (a *api) peek(q *store.Queue, r *http.Request) (any, error) {
	from, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	ds, err := q.Peek(from, limit)
	ms := make([]client.Message, 0, len(ds))
	for i := range ds {
		ms = append(ms, messageOf(&ds[i]))
	}
	return ms, err
}

func (a *api) dead(q *store.Queue, r *http.Request) (any, error) {
	from, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	ds, err := q.Dead(from, limit)
	ms := make([]client.Message, 0, len(ds))
	for i := range ds {
		m := messageOf(&ds[i].Delivery)
		at := time.UnixMilli(ds[i].Buried)
		m.Cause, m.Buried = ds[i].Cause, &at
		ms = append(ms, m)
	}
	return ms, err
}

func (a *api) requeue(q *store.Queue, r *http.Request) (any, error) {
	var seqs []uint64
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&seqs); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: want a JSON list of sequences: %w", errBadRequest, err)
	}
	n, err := q.Requeue(seqs...)
	a.h.router.Wake(q.Name())
	return client.Count{Messages: n}, err
}

func (a *api) purge(q *store.Queue, r *http.Request) (any, error) {
	if r.URL.Query().Get("dead") == "true" {
		n, err := q.PurgeDead()
		return client.Count{Messages: n}, err
	}
	n, err := q.Purge()
	return client.Count{Messages: int(n)}, err
}

func (a *api) uplink(f func()) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if a.h.uplink == nil {
			problem(w, http.StatusNotFound, "this hub has no parent: uplink.addresses is empty")
			return
		}
		f()
		w.WriteHeader(http.StatusNoContent)
	}
}

func messageOf(d *message.Delivery) client.Message {
	m := client.Message{
		Seq: d.Seq, Rule: d.Rule, Priority: d.Priority, Device: d.Device, Module: d.Module, Output: d.Output,
		Topic: d.Topic, System: named(d.System), Properties: named(d.Properties), Accepted: d.AcceptedAt(),
	}
	if d.Expire > 0 {
		at := time.UnixMilli(d.Expire)
		m.Expires = &at
	}
	m.SetBody(d.Body)
	return m
}

func named(ps []message.Property) map[string]string {
	if len(ps) == 0 {
		return nil
	}
	m := make(map[string]string, len(ps))
	for _, p := range ps {
		m[p.Name] = p.Value
	}
	return m
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the peer is gone: nobody is left to tell
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(client.Problem{Status: status, Title: http.StatusText(status), Detail: detail})
}
