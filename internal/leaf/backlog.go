package leaf

import (
	"context"
	"sync"
)

// Sent is a publication under way.
type Sent struct {
	topic  string
	qos    byte
	retain bool
	body   []byte

	done chan struct{}
	err  error // valid when done is closed
}

// Done is closed when the hub has acknowledged, or will never be asked again.
// QoS 0 counts as acknowledged when it is written.
func (s *Sent) Done() <-chan struct{} { return s.done }

// Wait returns when the hub has acknowledged; nil means it has.
func (s *Sent) Wait(ctx context.Context) error {
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Sent) finish(err error) {
	s.err = err
	close(s.done)
}

// Bounds of what waits for acknowledgement.
const (
	maxMessages = 64 << 10
	maxBytes    = 64 << 20
)

// backlog holds what is not acknowledged, in the order of Publish. The first
// `given` of it are with the session that owns it.
type backlog struct {
	mu     sync.Mutex
	owner  *session
	queue  []*Sent
	given  int
	bytes  int
	closed bool
	more   chan struct{} // something may be there to give
}

func newBacklog() *backlog { return &backlog{more: make(chan struct{}, 1)} }

func (b *backlog) add(s *Sent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		s.finish(ErrClosed)
		return
	case len(b.queue) >= maxMessages || b.bytes+len(s.body) > maxBytes:
		s.finish(ErrBacklog)
		return
	}
	b.queue = append(b.queue, s)
	b.bytes += len(s.body)
	b.wake()
}

func (b *backlog) wake() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// next gives the first message that s does not have, nil if there is none or s
// is not the owner any more.
func (b *backlog) next(s *session) *Sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner != s || b.given == len(b.queue) {
		return nil
	}
	b.given++
	return b.queue[b.given-1]
}

// acknowledged takes out the oldest message given.
func (b *backlog) acknowledged() {
	b.mu.Lock()
	s := b.queue[0]
	b.queue[0] = nil // the array may live long
	b.queue, b.given, b.bytes = b.queue[1:], b.given-1, b.bytes-len(s.body)
	b.mu.Unlock()
	s.finish(nil)
}

// giveTo makes s the owner, who is given everything from the beginning.
func (b *backlog) giveTo(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owner, b.given = s, 0
	b.wake()
}

// close fails what is left and all that comes.
func (b *backlog) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, s := range b.queue {
		s.finish(ErrClosed)
	}
	b.owner, b.queue, b.given, b.bytes = nil, nil, 0, 0
}
