// Package api is cloudhub's HTTP interface: health and metrics for whoever can
// reach the listener, and everything under /api/ for those who present the
// bearer token. Answers are the JSON of package client; errors are problem+json
// (RFC 9457).
//
// It changes nothing but the registry, buffers no message and holds no state
// beyond the count of open message streams. Handlers run concurrently; a stream
// that its client does not read costs a bounded read-ahead and ends after
// writeTimeout.
package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/cloudhub/ingress"
	"github.com/penstock-io/penstock/cloudhub/registry"
	"github.com/penstock-io/penstock/cloudhub/stream"
)

const (
	maxRequest   = 1 << 20
	maxStreams   = 64
	writeTimeout = 30 * time.Second
	stateTimeout = 2 * time.Second
)

// API serves the hub's parts over HTTP.
type API struct {
	Token    string
	Stream   *stream.Stream
	Ingress  *ingress.Ingress
	Registry *registry.Registry
	Metrics  prometheus.Gatherer
	Listen   func() client.Listening
	Log      *slog.Logger

	started time.Time
	streams chan struct{}
}

// Handler returns the routes. The API's fields must not change afterwards.
func (a *API) Handler() http.Handler {
	a.started, a.streams = time.Now(), make(chan struct{}, maxStreams)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "live\n") })
	mux.HandleFunc("GET /ready", a.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{}))
	guarded := http.NewServeMux()
	guarded.HandleFunc("GET /api/v1/status", a.status)
	guarded.HandleFunc("GET /api/v1/ledger", a.ledger)
	guarded.HandleFunc("GET /api/v1/messages", a.messages)
	guarded.HandleFunc("GET /api/v1/devices", a.devices)
	guarded.HandleFunc("GET /api/v1/devices/{id}", a.device)
	guarded.HandleFunc("PUT /api/v1/devices/{id}", a.putDevice)
	guarded.HandleFunc("DELETE /api/v1/devices/{id}", a.deleteDevice)
	mux.Handle("/api/", a.authorised(guarded))
	return mux
}

// authorised compares digests, so that neither content nor length of the token
// shows in the time taken.
func (a *API) authorised(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(a.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			problem(w, http.StatusUnauthorized, "a bearer token is needed: the one in the hub's token file")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *API) ready(w http.ResponseWriter, _ *http.Request) {
	if fault := a.Ingress.Status().Fault; fault != "" {
		problem(w, http.StatusServiceUnavailable, fault)
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}

func (a *API) status(w http.ResponseWriter, r *http.Request) {
	in := a.Ingress.Status()
	s := client.Status{
		Ready: in.Fault == "", Uptime: time.Since(a.started).Seconds(), Devices: len(a.Registry.List()), Listen: a.Listen(),
		Ingress: client.IngressStatus{Waiting: in.Waiting, WaitingBytes: in.WaitingBytes, Fault: in.Fault, Restored: in.Restored},
	}
	if in.Fault != "" {
		s.Ingress.Since = &in.Since
	}
	ctx, cancel := context.WithTimeout(r.Context(), stateTimeout)
	defer cancel()
	if st, err := a.Stream.State(ctx); err == nil {
		s.Stream = client.StreamStatus{First: st.First, Last: st.Last, Messages: st.Messages, Bytes: st.Bytes}
	} else if s.Ready = false; s.Ingress.Fault == "" {
		s.Ingress.Fault = err.Error()
	}
	answer(w, http.StatusOK, s)
}

func (a *API) ledger(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	q := ingress.Question{Device: v.Get("device"), Epoch: v.Get("epoch")}
	if t := v.Get("from"); t != "" {
		var err error
		if q.From, err = strconv.ParseUint(t, 10, 64); err != nil {
			problem(w, http.StatusBadRequest, "from is a sequence")
			return
		}
	}
	in := a.Ingress.Ledger(q)
	out := client.Ledger{Last: in.Last, Direct: in.Direct, DirectDuplicates: in.DirectDuplicates, Entries: []client.LedgerEntry{}}
	for _, e := range in.Entries {
		entry := client.LedgerEntry{
			Device: e.Device, Epoch: e.Epoch, Stored: e.Stored, Duplicates: e.Duplicates, Floor: e.Floor,
			Restored: e.Restored, Collapsed: e.Collapsed, Below: e.Below, Ranges: make([]client.Range, len(e.Ranges)), More: e.More,
		}
		for i, rg := range e.Ranges {
			entry.Ranges[i] = client.Range(rg)
		}
		out.Entries = append(out.Entries, entry)
	}
	answer(w, http.StatusOK, out)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client that went away is the only one who would care
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(client.Error{Status: status, Title: http.StatusText(status), Detail: detail})
}

// fail translates an error of the parts to a status.
func (a *API) fail(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable // the stream or the bucket did not answer
	switch {
	case errors.Is(err, registry.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, registry.ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, registry.ErrInvalid):
		status = http.StatusUnprocessableEntity
	}
	problem(w, status, fmt.Sprint(err))
}
