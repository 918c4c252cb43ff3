package stream

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/penstock-io/penstock/message"
)

// Names of the headers; the package comment gives their form.
const (
	HeaderKind       = "Penstock-Kind"
	HeaderDevice     = "Penstock-Device"
	HeaderModule     = "Penstock-Module"
	HeaderOutput     = "Penstock-Output"
	HeaderTopic      = "Penstock-Topic"
	HeaderAccepted   = "Penstock-Accepted"
	HeaderExpires    = "Penstock-Expires"
	HeaderOrigin     = "Penstock-Origin"
	HeaderFloor      = "Penstock-Floor"
	HeaderSystem     = "Penstock-System"
	HeaderProperties = "Penstock-Properties"
	HeaderBody       = "Penstock-Body"
	HeaderDigest     = "Penstock-Digest"
	HeaderCommit     = "Penstock-Commit"

	// MaxHeader bounds a message's headers. JetStream stores their length in 16
	// bits, whatever the payload limit; what the commit adds needs its part.
	MaxHeader = 60_000
)

const timeForm = "2006-01-02T15:04:05.000Z"

var kinds = [...]string{message.Telemetry: "telemetry", message.Plain: "plain", message.TwinChange: "twin-change"}

// Encode returns m in the stream's form. The result shares m's body, unless
// headers stand behind it. ErrTooLarge is for origins of absurd length only.
func (s *Stream) Encode(m *message.Message) (*nats.Msg, error) { return Encode(s.prefix, m) }

// Encode is Stream.Encode for a stream whose subjects begin with prefix.
func Encode(prefix string, m *message.Message) (*nats.Msg, error) {
	h := make(nats.Header, 10)
	// One array holds the values of all headers: a slice each would be the
	// larger part of what a message allocates.
	values, size := make([]string, 0, 10), 0
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
		size += len(name) + len(value) + 4
	}
	set(HeaderKind, kinds[m.Kind])
	set(HeaderDevice, escape(m.Device, ""))
	if m.Module != "" {
		set(HeaderModule, escape(m.Module, ""))
	}
	if m.Output != "" {
		set(HeaderOutput, escape(m.Output, ""))
	}
	if m.Topic != "" {
		set(HeaderTopic, escape(m.Topic, ""))
	}
	set(HeaderAccepted, time.UnixMilli(m.Accepted).UTC().Format(timeForm))
	if m.Expires != 0 {
		set(HeaderExpires, time.UnixMilli(m.Expires).UTC().Format(timeForm))
	}
	if m.Origin.Seq != 0 {
		set(HeaderOrigin, OriginText(m.Origin))
		if m.Origin.Floor != 0 {
			set(HeaderFloor, strconv.FormatUint(m.Origin.Floor, 10))
		}
	}
	if len(m.System) > 0 {
		set(HeaderSystem, bag(m.System))
	}
	if len(m.Properties) > 0 {
		set(HeaderProperties, bag(m.Properties))
	}
	msg := &nats.Msg{Subject: Subject(prefix, m), Header: h, Data: m.Body}
	if size > MaxHeader {
		var moved int
		if msg.Data, moved = spill(h, m.Body); size-moved > MaxHeader {
			return nil, fmt.Errorf("encode headers: %d bytes of headers, limit %d: %w", size-moved, MaxHeader, ErrTooLarge)
		}
	}
	return msg, nil
}

// Decode is the inverse of Encode; body is the whole payload. QoS and Retain are not stored and come
// back as zero.
func Decode(h nats.Header, body []byte) (message.Message, error) {
	h, body, err := unspill(h, body)
	if err != nil {
		return message.Message{}, err
	}
	m := message.Message{Body: body}
	var d decoder
	m.Kind = d.kind(first(h, HeaderKind))
	m.Device = d.text(first(h, HeaderDevice))
	m.Module = d.text(first(h, HeaderModule))
	m.Output = d.text(first(h, HeaderOutput))
	m.Topic = d.text(first(h, HeaderTopic))
	m.Accepted = d.time(first(h, HeaderAccepted))
	if v := first(h, HeaderExpires); v != "" {
		m.Expires = d.time(v)
	}
	m.Origin = d.origin(h)
	m.System = d.bag(h[HeaderSystem])
	m.Properties = d.bag(h[HeaderProperties])
	if d.err != nil {
		return message.Message{}, d.err
	}
	return m, nil
}

// DecodeOrigin reads only the origin; a message without one has the zero Origin.
func DecodeOrigin(h nats.Header) (message.Origin, error) {
	var d decoder
	o := d.origin(h)
	return o, d.err
}

// OriginText is the form of the Origin header.
func OriginText(o message.Origin) string {
	return escape(o.Device, "/") + "/" + escape(o.Epoch, "/") + "/" + strconv.FormatUint(o.Seq, 10)
}

func first(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func bag(ps []message.Property) string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escape(p.Name, "&=+"))
		if !p.Null {
			b.WriteByte('=')
			b.WriteString(escape(p.Value, "&=+"))
		}
	}
	return b.String()
}

// escape writes bytes outside 0x21–0x7E, '%' and those of also as %XX.
func escape(s, also string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if mustEscape(s[i], also) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; mustEscape(c, also) {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func mustEscape(c byte, also string) bool {
	return c < 0x21 || c > 0x7e || c == '%' || strings.IndexByte(also, c) >= 0
}

// decoder takes header values apart and remembers the first fault.
type decoder struct{ err error }

func (d *decoder) fail(what, value string) {
	if d.err == nil {
		d.err = fmt.Errorf("decode %s %.64q: %w", what, value, ErrHeader)
	}
}

func (d *decoder) kind(s string) message.Kind {
	for k, name := range kinds {
		if s == name {
			return message.Kind(k)
		}
	}
	d.fail("kind", s)
	return 0
}

func (d *decoder) text(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			d.fail("escape", s)
			return ""
		}
		v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			d.fail("escape", s)
			return ""
		}
		b = append(b, byte(v))
		i += 2
	}
	return string(b)
}

func (d *decoder) time(s string) int64 {
	t, err := time.Parse(timeForm, s)
	if err != nil {
		d.fail("time", s)
		return 0
	}
	return t.UnixMilli()
}

func (d *decoder) origin(h nats.Header) message.Origin {
	s := first(h, HeaderOrigin)
	if s == "" {
		return message.Origin{}
	}
	device, rest, ok1 := strings.Cut(s, "/")
	epoch, number, ok2 := strings.Cut(rest, "/")
	seq, err := strconv.ParseUint(number, 10, 64)
	if !ok1 || !ok2 || err != nil || seq == 0 {
		d.fail("origin", s)
		return message.Origin{}
	}
	o := message.Origin{Device: d.text(device), Epoch: d.text(epoch), Seq: seq}
	if s := first(h, HeaderFloor); s != "" {
		if o.Floor, err = strconv.ParseUint(s, 10, 64); err != nil {
			d.fail("floor", s)
		}
	}
	return o
}

func (d *decoder) bag(values []string) []message.Property {
	if len(values) == 0 {
		return nil
	}
	ps := make([]message.Property, 0, strings.Count(values[0], "&")+1)
	for pair := range strings.SplitSeq(values[0], "&") {
		name, value, ok := strings.Cut(pair, "=")
		ps = append(ps, message.Property{Name: d.text(name), Value: d.text(value), Null: !ok})
	}
	return ps
}
