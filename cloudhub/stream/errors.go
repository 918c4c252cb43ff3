package stream

import "errors"

var (
	// ErrStart: the embedded server did not come up; the message says which
	// port or folder and why.
	ErrStart = errors.New("embedded NATS server did not start")
	// ErrHeader: a stored message's headers are not of this package's form.
	ErrHeader = errors.New("not a header of this stream")
	// ErrTooLarge: the message does not fit the server's payload limit: that of an
	// external cluster is below the 1 MiB that is NATS's default.
	ErrTooLarge = errors.New("message too large for the stream")
	// ErrLost: the connection to the server broke before it answered.
	ErrLost = errors.New("connection to NATS was lost")
	// ErrInterrupted: reading met a gap in what the server delivered; nothing
	// is known about the rest, so the read must start again.
	ErrInterrupted = errors.New("stream reading was interrupted")
)
