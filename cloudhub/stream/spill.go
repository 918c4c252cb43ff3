package stream

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// maxKept is the longest header value that is kept as a header when some must go
// behind the body; with it all headers together stay below MaxHeader.
const maxKept = 4096

// spillable are the headers that may go behind the body, in the order in which
// they stand there. The others are needed where only headers are read.
var spillable = [...]string{HeaderDevice, HeaderModule, HeaderOutput, HeaderTopic, HeaderSystem, HeaderProperties}

// spill moves the long values of h behind the body and returns the new payload
// and how many bytes of headers are gone.
func spill(h nats.Header, body []byte) (payload []byte, moved int) {
	for _, name := range spillable {
		if v := first(h, name); len(v) > maxKept {
			moved += len(name) + len(v) + 4
		}
	}
	payload = append(make([]byte, 0, len(body)+moved), body...)
	for _, name := range spillable {
		v := first(h, name)
		if len(v) <= maxKept {
			continue
		}
		payload = append(payload, name...)
		payload = append(payload, ": "...)
		payload = append(payload, v...)
		payload = append(payload, "\r\n"...)
		delete(h, name)
	}
	h[HeaderBody] = []string{strconv.Itoa(len(body))}
	return payload, moved
}

// unspill is the inverse of spill: all headers, and the body alone. What is not
// of spill's making, as when only headers were read, wraps ErrHeader.
func unspill(h nats.Header, payload []byte) (nats.Header, []byte, error) {
	v := first(h, HeaderBody)
	if v == "" {
		return h, payload, nil
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n >= uint64(len(payload)) {
		return nil, nil, fmt.Errorf("decode %s %.64q of a payload of %d bytes: %w", HeaderBody, v, len(payload), ErrHeader)
	}
	all := make(nats.Header, len(h)+len(spillable))
	for name, values := range h {
		all[name] = values
	}
	lines, ok := strings.CutSuffix(string(payload[n:]), "\r\n")
	for line := range strings.SplitSeq(lines, "\r\n") {
		name, value, found := strings.Cut(line, ": ")
		if _, twice := all[name]; !ok || !found || twice {
			return nil, nil, fmt.Errorf("decode headers behind the body, %.64q: %w", line, ErrHeader)
		}
		all[name] = []string{value}
	}
	return all, payload[:n:n], nil
}

// Spilled reports whether some of the headers stand behind the body, so that
// only the whole message tells what it is.
func Spilled(h nats.Header) bool { return first(h, HeaderBody) != "" }
