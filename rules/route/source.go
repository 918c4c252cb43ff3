package route

import "strings"

// Source is the source of a route: the lower-case segments that a message's
// source must begin with (contract 5.2). The empty Source matches everything.
type Source struct {
	Segments []string
	Text     string // as written
}

// ParseSource reads a source such as /messages/modules/*; err says what is wrong
// with it.
func ParseSource(text string) (s Source, err string) {
	s.Text = text
	if !strings.HasPrefix(text, "/") {
		return s, "expected a source after FROM, such as /messages/*"
	}
	if strings.Contains(text, "//") {
		return s, "the source has an empty segment"
	}
	for i := range len(text) {
		if c := text[i]; c != '/' && !isIdentifier(c) {
			return s, "the source has a character that is not allowed: " + string(rune(c))
		}
	}
	// What ends in * or / means the same without.
	text = strings.TrimRight(text, "*/")
	if text == "" {
		return s, ""
	}
	s.Segments = strings.Split(strings.ToLower(text[1:]), "/")
	return s, ""
}

// Matches reports whether the segments of a message's source begin with s.
func (s Source) Matches(message ...string) bool {
	if len(s.Segments) > len(message) {
		return false
	}
	for i, want := range s.Segments {
		if !strings.EqualFold(want, message[i]) {
			return false
		}
	}
	return true
}

// IsTwin reports whether s is that of twin changes.
func (s Source) IsTwin() bool { return len(s.Segments) > 0 && s.Segments[0] == twinSegment }

const twinSegment = "twinchangenotifications"
