// Package client speaks to cloudhub's HTTP API, and defines the JSON that the
// API sends and takes. A Client is safe for concurrent use and holds no
// connection of its own beyond net/http's pool.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxLine bounds one message of the stream as JSON text: the largest body the
// stream takes, as base64, with its properties.
const maxLine = 16 << 20

// Client calls one cloudhub.
type Client struct {
	base  string
	token string
	http  *http.Client

	timeout time.Duration // of calls that are answered at once
}

const callTimeout = 10 * time.Second

// ErrUnavailable: a cloudhub took the connection and did not answer in time.
var ErrUnavailable = errors.New("cloudhub does not answer")

// New returns a client of the API at base, http://host:port, that presents token.
func New(base, token string) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), token: token, http: &http.Client{}, timeout: callTimeout}
}

// Error is what the API answered in place of a result (RFC 9457).
type Error struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("cloudhub: %s", e.Title)
	}
	return fmt.Sprintf("cloudhub: %s: %s", e.Title, e.Detail)
}

// Status reports the hub's health.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/api/v1/status", nil, &s)
}

// Devices lists the registry, without keys.
func (c *Client) Devices(ctx context.Context) (ds []Device, err error) {
	return ds, c.do(ctx, http.MethodGet, "/api/v1/devices", nil, &ds)
}

// Device returns one device, with its keys if asked for.
func (c *Client) Device(ctx context.Context, id string, keys bool) (d Device, err error) {
	return d, c.do(ctx, http.MethodGet, devicePath(id)+"?keys="+strconv.FormatBool(keys), nil, &d)
}

// PutDevice registers or replaces d and returns it as stored, keys included.
// Keys left out stay what they are, or are made for a new device.
func (c *Client) PutDevice(ctx context.Context, d Device) (stored Device, err error) {
	return stored, c.do(ctx, http.MethodPut, devicePath(d.ID), d, &stored)
}

// DeleteDevice forgets a device.
func (c *Client) DeleteDevice(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, devicePath(id), nil, nil)
}

func devicePath(id string) string { return "/api/v1/devices/" + url.PathEscape(id) }

// Query selects messages; the zero Query selects all that are stored.
type Query struct {
	Device  string
	Module  string
	Subject string    // a NATS subject filter; not together with Device
	Since   time.Time // stored at or after
	Follow  bool      // wait for more; without Since, only what comes from now on
	Limit   int       // end after so many; 0: no limit
}

// Messages calls each with the messages q selects until they end, each fails,
// or ctx ends.
func (c *Client) Messages(ctx context.Context, q Query, each func(*Message) error) error {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("device", q.Device)
	set("module", q.Module)
	set("subject", q.Subject)
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	res, err := c.send(ctx, http.MethodGet, "/api/v1/messages?"+v.Encode(), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		var m Message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		if err := each(&m); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	return nil
}

// do makes one call and reads its answer, within callTimeout: a hub that is
// frozen takes connections and says nothing.
func (c *Client) do(parent context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(parent, c.timeout)
	defer cancel()
	res, err := c.send(ctx, method, path, in)
	if err != nil {
		if ctx.Err() != nil && parent.Err() == nil {
			return fmt.Errorf("%w within %v at %s: is it stopped or overloaded?", ErrUnavailable, c.timeout, c.base)
		}
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, path, err)
	}
	return nil
}

// send returns a successful response; its body is the caller's to close.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("call cloudhub: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("call cloudhub: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call cloudhub: %w", err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	fault := &Error{Status: res.StatusCode, Title: http.StatusText(res.StatusCode)}
	_ = json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(fault) // what is not JSON leaves the status text
	return nil, fault
}
