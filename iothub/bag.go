package iothub

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/penstock-io/penstock/message"
)

// decodeBag adds the properties of a bag (contract 2.4) to m: pairs joined by
// '&', names and values percent-encoded, an optional leading '?', an optional
// trailing '/'. A bare name is null. System properties go where their meaning
// is: $.on to Output, $.exp also to Expires. What the hub stamps itself is not
// taken from a client: $.cdid and $.cmid are left out.
//
// A percent sign that begins no escape stands for itself, because the C SDK
// sends values as they are unless told otherwise.
func decodeBag(bag string, m *message.Message) error {
	bag = strings.TrimPrefix(bag, "?")
	bag = strings.TrimSuffix(bag, "/")
	if bag == "" {
		return nil
	}
	d := bagDecoder{m: m, had: len(m.System)}
	if err := d.makeRoom(bag); err != nil {
		return err
	}
	for bag != "" {
		var pair string
		pair, bag, _ = strings.Cut(bag, "&")
		if pair == "" {
			continue
		}
		if err := d.add(pair); err != nil {
			return err
		}
	}
	return nil
}

type bagDecoder struct {
	m   *message.Message
	had int    // system properties the message had before
	buf []byte // unescaped text; never grows, so strings may point into it
}

// makeRoom allocates for the whole bag at once: one array for both kinds of
// properties, one buffer for everything that has to be unescaped.
func (d *bagDecoder) makeRoom(bag string) error {
	pairs := strings.Count(bag, "&") + 1
	if pairs > MaxProperties {
		return fmt.Errorf("%w: %d properties, limit %d", ErrProperties, pairs, MaxProperties)
	}
	if strings.IndexByte(bag, '%') >= 0 {
		d.buf = make([]byte, 0, len(bag))
	}
	if len(d.m.System) > 0 || len(d.m.Properties) > 0 {
		return nil // MQTT 5 brought some: append takes care
	}
	system := strings.Count(bag, "$.") + strings.Count(bag, "%24.")
	system = min(system, pairs)
	all := make([]message.Property, pairs)
	d.m.System, d.m.Properties = all[:0:system], all[system:system:pairs]
	return nil
}

func (d *bagDecoder) add(pair string) error {
	rawName, rawValue, valued := strings.Cut(pair, "=")
	name, err := d.text(rawName)
	if err != nil {
		return err
	}
	if name == "" {
		return fmt.Errorf("%w: a property without a name", ErrProperties)
	}
	value, err := d.text(rawValue)
	if err != nil {
		return err
	}
	p := message.Property{Name: name, Value: value, Null: !valued}
	switch name {
	case wireDevice, wireModule:
		return nil
	case wireOutput:
		if d.m.Output != "" {
			return fmt.Errorf("%w: %s occurs twice", ErrProperties, name)
		}
		d.m.Output = value
		return nil
	}
	if sys, ok := sysName(name); ok {
		return d.addSystem(sys, p)
	}
	d.m.Properties = append(d.m.Properties, p)
	return nil
}

// addSystem sets a system property. One that MQTT 5 brought with the packet is
// overruled by the bag; one that the bag has twice is an error.
func (d *bagDecoder) addSystem(sys string, p message.Property) error {
	wire := p.Name
	p.Name = sys
	if sys == message.SysExpiry && p.Value != "" {
		at, err := parseTime(p.Value)
		if err != nil {
			return fmt.Errorf("%w: %s is %q, want an ISO 8601 time", ErrProperties, wire, excerpt(p.Value))
		}
		d.m.Expires = max(at.UnixMilli(), 1) // 0 would mean never
	}
	for i := range d.m.System {
		if d.m.System[i].Name != sys {
			continue
		}
		if i >= d.had {
			return fmt.Errorf("%w: %s occurs twice", ErrProperties, wire)
		}
		d.m.System[i] = p
		return nil
	}
	d.m.System = append(d.m.System, p)
	return nil
}

func (d *bagDecoder) text(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil // the packet's own UTF-8 was vetted with the topic
	}
	from := len(d.buf)
	d.buf = appendUnescaped(d.buf, s)
	b := d.buf[from:]
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%w: %q does not decode to UTF-8", ErrProperties, excerpt(s))
	}
	return unsafe.String(unsafe.SliceData(b), len(b)), nil
}

var timeLayouts = []string{
	time.RFC3339, // takes fractions of a second
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"20060102T150405Z0700",
	"2006-01-02",
}

// parseTime reads the forms of ISO 8601 that clients send; without a zone it is UTC.
func parseTime(s string) (t time.Time, err error) {
	for _, layout := range timeLayouts {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, err
}

const hexDigits = "0123456789ABCDEF"

// appendUnescaped appends s with its percent escapes resolved; the result is
// never longer than s. '+' is a plus sign.
func appendUnescaped(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		dst = append(dst, s[i])
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// unreserved are the bytes that encodeURIComponent leaves alone (ECMA-262).
var unreserved = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()") {
		t[c] = true
	}
	return t
}()

// appendEscaped appends s as encodeURIComponent writes it.
func appendEscaped(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if unreserved[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}
