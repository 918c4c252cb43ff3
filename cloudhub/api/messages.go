package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

// flushEvery bounds what a busy stream holds back from its reader.
const flushEvery = 256

// errEnough ends a stream whose limit is reached.
var errEnough = errors.New("limit reached")

// selection is a parsed query of GET /api/v1/messages.
type selection struct {
	stream.Query
	module string
	limit  int
}

// messages streams stored messages as lines of JSON.
func (a *API) messages(w http.ResponseWriter, r *http.Request) {
	sel, err := a.parseSelection(r.URL.Query(), time.Now())
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		problem(w, http.StatusTooManyRequests, fmt.Sprintf("%d streams of messages are open already", maxStreams))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, ctl := json.NewEncoder(w), http.NewResponseController(w)
	out.SetEscapeHTML(false)
	w.WriteHeader(http.StatusOK)
	_ = ctl.Flush()
	n := 0
	err = a.Stream.Read(r.Context(), sel.Query, func(s *stream.Stored, more uint64) error {
		m, err := render(s)
		if foreign := err != nil; foreign || sel.module != "" && m.Module != sel.module {
			return nil // somebody else's message on our subjects, or not asked for
		}
		if err := ctl.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if err := out.Encode(m); err != nil {
			return err
		}
		if n++; n == sel.limit {
			return errEnough
		}
		if more == 0 || n%flushEvery == 0 {
			return ctl.Flush()
		}
		return nil
	})
	if err == nil || errors.Is(err, errEnough) {
		return
	}
	if r.Context().Err() == nil {
		a.Log.Warn("stream of messages to a reader broke off", "peer", r.RemoteAddr, "err", err)
	}
	panic(http.ErrAbortHandler) // the reader must not take the part for the whole
}

func (a *API) parseSelection(v url.Values, now time.Time) (s selection, err error) {
	for name := range v {
		switch name {
		case "device", "module", "subject", "since", "follow", "limit":
		default:
			return s, fmt.Errorf("unknown parameter %q", name)
		}
	}
	device, subject := v.Get("device"), v.Get("subject")
	switch {
	case device != "" && subject != "":
		return s, errors.New("device and subject exclude each other")
	case device != "":
		s.Filters = a.Stream.Filters(device)
	case subject != "":
		s.Filters = []string{subject}
	}
	s.module = v.Get("module")
	if t := v.Get("since"); t != "" {
		if s.Since, err = parseSince(t, now); err != nil {
			return s, err
		}
	}
	if t := v.Get("follow"); t != "" {
		if s.Follow, err = strconv.ParseBool(t); err != nil {
			return s, errors.New("follow is true or false")
		}
	}
	s.New = s.Follow && s.Since.IsZero()
	if t := v.Get("limit"); t != "" {
		if s.limit, err = strconv.Atoi(t); err != nil || s.limit < 1 {
			return s, errors.New("limit is a number from 1")
		}
	}
	return s, nil
}

// parseSince takes a time or how long ago it was.
func parseSince(t string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, t); err == nil {
		return at, nil
	}
	if d, err := time.ParseDuration(t); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, errors.New("since is a time (2026-01-02T15:04:05Z) or how long ago (10m)")
}

func render(s *stream.Stored) (*client.Message, error) {
	m, err := stream.Decode(s.Header, s.Body)
	if err != nil {
		return nil, err
	}
	out := &client.Message{
		Seq: s.Seq, Received: s.Received.UTC(), Subject: s.Subject, Kind: s.Header.Get(stream.HeaderKind),
		Device: m.Device, Module: m.Module, Output: m.Output, Topic: m.Topic, Accepted: m.AcceptedAt().UTC(),
		System: properties(m.System), Properties: properties(m.Properties),
	}
	if m.Origin.Seq != 0 {
		out.Origin = &client.Origin{Device: m.Origin.Device, Epoch: m.Origin.Epoch, Seq: m.Origin.Seq}
	}
	out.Encoding, out.Body = body(m.Body)
	return out, nil
}

func properties(ps []message.Property) []client.Property {
	var out []client.Property
	for i := range ps {
		p := client.Property{Name: ps[i].Name}
		if !ps[i].Null {
			p.Value = &ps[i].Value
		}
		out = append(out, p)
	}
	return out
}

func body(b []byte) (encoding string, text json.RawMessage) {
	switch {
	case !utf8.Valid(b):
		text, _ = json.Marshal(b) // bytes and strings always marshal
		return client.EncodingBase64, text
	case json.Valid(b):
		return client.EncodingJSON, b
	}
	text, _ = json.Marshal(string(b))
	return client.EncodingText, text
}
