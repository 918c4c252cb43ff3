package iothub

import (
	"errors"
	"fmt"
)

var (
	// ErrTooLarge: body, property names and values together exceed MaxMessage.
	ErrTooLarge = errors.New("message too large")
	// ErrTopic: a topic begins like one of the dialect's and does not go on like it.
	ErrTopic = errors.New("malformed topic")
	// ErrProperties: a property bag cannot be read, or holds a value that its
	// system property cannot have.
	ErrProperties = errors.New("malformed property bag")
	// ErrUsername: a user name is not of the form {host}/{device}[/{module}]/?api-version=….
	ErrUsername = errors.New("malformed user name")
)

func tooLarge(n int) error {
	return fmt.Errorf("%w: %d bytes of body and properties, limit %d", ErrTooLarge, n, MaxMessage)
}

// excerpt keeps what strangers sent short in errors.
func excerpt(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
