// Package client talks to an edgehub's local API, on its Unix socket or on
// loopback HTTP. The types are the API's JSON. A Client may be used concurrently.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrUnavailable: no edgehub answers at the address.
var ErrUnavailable = errors.New("edgehub does not answer")

// ErrNotFound: the hub does not know what the request names.
var ErrNotFound = errors.New("not found")

// Client is a connection to one edgehub.
type Client struct {
	http *http.Client
	base string
	addr string
}

// New returns a client for addr: the path of a Unix socket, or http://host:port.
func New(addr string) *Client {
	if strings.HasPrefix(addr, "http://") {
		return &Client{http: http.DefaultClient, base: strings.TrimSuffix(addr, "/"), addr: addr}
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", addr)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://edgehub", addr: addr}
}

// Status returns what the hub says of itself.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, "GET", "/v1/status", nil, nil, &s)
}

// Ledger returns the accounts of all rules and queues.
func (c *Client) Ledger(ctx context.Context) (l Ledger, err error) {
	return l, c.do(ctx, "GET", "/v1/ledger", nil, nil, &l)
}

// Sequences returns which sequences of a queue were given, and which of them
// left it undelivered.
func (c *Client) Sequences(ctx context.Context, queue string) (s Sequences, err error) {
	return s, c.do(ctx, "GET", "/v1/sequences", queueQuery(queue), nil, &s)
}

// Peek returns up to limit waiting messages from a sequence on; they stay where they are.
func (c *Client) Peek(ctx context.Context, queue string, from uint64, limit int) (ms []Message, err error) {
	return ms, c.do(ctx, "GET", "/v1/queue/peek", pageQuery(queue, from, limit), nil, &ms)
}

// Dead returns up to limit dead letters from a sequence on.
func (c *Client) Dead(ctx context.Context, queue string, from uint64, limit int) (ms []Message, err error) {
	return ms, c.do(ctx, "GET", "/v1/queue/dead", pageQuery(queue, from, limit), nil, &ms)
}

// Requeue puts dead letters back into their queue, all when no sequence is named.
func (c *Client) Requeue(ctx context.Context, queue string, seqs ...uint64) (n int, err error) {
	var a Count
	err = c.do(ctx, "POST", "/v1/queue/requeue", queueQuery(queue), seqs, &a)
	return a.Messages, err
}

// Purge empties a queue, or its dead letters. What was in it is counted as dropped.
func (c *Client) Purge(ctx context.Context, queue string, dead bool) (n int, err error) {
	var a Count
	q := queueQuery(queue)
	q.Set("dead", strconv.FormatBool(dead))
	err = c.do(ctx, "POST", "/v1/queue/purge", q, nil, &a)
	return a.Messages, err
}

// CutUplink closes the uplink until RestoreUplink.
func (c *Client) CutUplink(ctx context.Context) error {
	return c.do(ctx, "POST", "/v1/uplink/cut", nil, nil, nil)
}

// RestoreUplink lets the uplink connect again.
func (c *Client) RestoreUplink(ctx context.Context) error {
	return c.do(ctx, "POST", "/v1/uplink/restore", nil, nil, nil)
}

func queueQuery(queue string) url.Values { return url.Values{"queue": {queue}} }

func pageQuery(queue string, from uint64, limit int) url.Values {
	q := queueQuery(queue)
	q.Set("from", strconv.FormatUint(from, 10))
	q.Set("limit", strconv.Itoa(limit))
	return q
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+q.Encode(), body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unavailable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return problem(resp)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// unavailable tells a hub that is not there from one that failed.
func (c *Client) unavailable(err error) error {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w at %s: is it running, and is this its state folder?", ErrUnavailable, c.addr)
	}
	return err
}

func problem(resp *http.Response) error {
	var p Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p); err != nil || p.Detail == "" {
		return fmt.Errorf("edgehub answers %s", resp.Status)
	}
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%s: %w", p.Detail, ErrNotFound)
	}
	return errors.New(p.Detail)
}
