package ingress

import "errors"

var (
	// ErrClosed: the ingress stopped before the message was known to be stored.
	// The sender must send it again.
	ErrClosed = errors.New("cloud ingress is closed")
	// ErrRefused: the stream will never take this message, because of its size.
	ErrRefused = errors.New("message refused by the stream")
	// ErrScattered: the message's sequence lies in a gap so far from others that
	// the index has no memory left for it. No honest edge comes near that bound.
	// Once the floor has passed some gaps it is accepted.
	ErrScattered = errors.New("too many gaps in the origin's sequences")
	// ErrRestored: the edge hub gave a sequence a second time, under the same
	// epoch, so its store was restored from a backup or copied. To acknowledge
	// the message as a duplicate would lose it.
	ErrRestored = errors.New("the edge hub's store was restored from a backup or copied: " +
		"start edgehub once with -renew-epoch, then it is taken")
	// ErrSnapshot: the snapshot file is damaged or of an unknown version. The
	// index is then rebuilt from the stream.
	ErrSnapshot = errors.New("unreadable index snapshot")
)
