package stream

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// link tells when the connection is lost. The NATS client does not: a request
// whose answer can no longer come waits for its time-out.
type link struct {
	mu   sync.Mutex
	up   context.Context // ends with the connection that is up now
	lose context.CancelFunc
}

func watch(nc *nats.Conn) *link {
	l := &link{}
	l.up, l.lose = context.WithCancel(context.Background())
	nc.SetDisconnectErrHandler(func(*nats.Conn, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lose()
		l.up, l.lose = context.WithCancel(context.Background())
	})
	return l
}

// Bound returns a context for one exchange with the server: it ends with ctx,
// after d, or when the connection is lost, which is then its cause.
func (s *Stream) Bound(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	ctx, lose := context.WithCancelCause(ctx)
	s.link.mu.Lock()
	up := s.link.up
	s.link.mu.Unlock()
	stop := context.AfterFunc(up, func() { lose(ErrLost) })
	return ctx, func() {
		stop()
		lose(nil)
		cancel()
	}
}
