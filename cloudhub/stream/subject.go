package stream

import (
	"strings"

	"github.com/penstock-io/penstock/message"
)

const (
	// DefaultPrefix begins every subject of the stream unless configured otherwise.
	DefaultPrefix = "hub.messages"
	// MaxSubject bounds a subject's length in bytes; NATS's own limit is the
	// 4,096 bytes of a control line.
	MaxSubject = 1024

	empty    = "%00"
	topicTag = ".$topic"
	twinTag  = ".$twin"
	moreTag  = ".$more"
)

const hexDigits = "0123456789ABCDEF"

// Subject returns the subject that m is stored under in a stream whose subjects
// begin with prefix.
func Subject(prefix string, m *message.Message) string {
	b := make([]byte, 0, 96)
	b = append(b, prefix...)
	b = appendToken(b, m.Device)
	switch m.Kind {
	case message.Plain:
		b = append(b, topicTag...)
		for level := range strings.SplitSeq(m.Topic, "/") {
			b = appendToken(b, level)
			if len(b) > MaxSubject {
				break
			}
		}
	default:
		if m.Module != "" {
			b = appendToken(b, m.Module)
			if m.Output != "" && m.Kind == message.Telemetry {
				b = appendToken(b, m.Output)
			}
		}
		if m.Kind == message.TwinChange {
			b = append(b, twinTag...)
		}
	}
	if len(b) > MaxSubject {
		b = append(cutToken(b, MaxSubject-len(moreTag)), moreTag...)
	}
	return string(b)
}

// Filters returns the subject filters that select one device's messages.
func (s *Stream) Filters(device string) []string {
	f := string(appendToken([]byte(s.prefix), device))
	return []string{f, f + ".>"}
}

// Token writes s as one subject token.
func Token(s string) string { return string(appendToken(nil, s)[1:]) }

// ParseToken is the inverse of Token; its errors wrap ErrHeader.
func ParseToken(token string) (string, error) {
	if token == empty {
		return "", nil
	}
	var d decoder
	s := d.text(token)
	return s, d.err
}

// appendToken appends a dot and s as one token.
func appendToken(dst []byte, s string) []byte {
	dst = append(dst, '.')
	if s == "" {
		return append(dst, empty...)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; plain(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// cutToken shortens a subject to at most n bytes at the end of a token.
func cutToken(b []byte, n int) []byte {
	for n > 0 && b[n] != '.' {
		n--
	}
	return b[:n]
}
