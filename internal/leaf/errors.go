package leaf

import "errors"

var (
	// ErrClosed: the client was closed before the hub acknowledged.
	ErrClosed = errors.New("client closed")
	// ErrBacklog: too much waits for acknowledgement; the message was not taken.
	ErrBacklog = errors.New("too many messages wait for acknowledgement")
	// ErrQoS: QoS 2 in a session that outlives its connections. The hub would take
	// packet ids of before for those of now.
	ErrQoS = errors.New("quality of service 2 needs a clean session")
	// ErrRefused: the hub does not grant the subscription.
	ErrRefused = errors.New("refused by the hub")

	errLost = errors.New("connection lost")
)
