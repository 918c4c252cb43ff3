package ingress

import "errors"

var (
	// ErrClosed: the ingress stopped before the message was known to be stored.
	// The sender must send it again.
	ErrClosed = errors.New("cloud ingress is closed")
	// ErrRefused: the stream will never take this message, because of its size.
	ErrRefused = errors.New("message refused by the stream")
	// ErrScattered: the message's sequence would leave more gaps above its
	// origin's floor than the index may hold. Once gaps are filled, or the floor
	// has passed them, it is accepted.
	ErrScattered = errors.New("too many gaps in the origin's sequences")
	// ErrSnapshot: the snapshot file is damaged or of an unknown version. The
	// index is then rebuilt from the stream.
	ErrSnapshot = errors.New("unreadable index snapshot")
)
