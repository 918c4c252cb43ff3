package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Query selects stored messages.
type Query struct {
	Filters []string  // subject filters that do not overlap; none: all
	Since   time.Time // stored at or after; zero: from the oldest
	New     bool      // only what is stored from now on; Since is not looked at
	Follow  bool      // do not end at the newest but wait for more
}

// Read calls each with the messages q selects, in the stream's order; more
// tells how many selected ones are known to follow. It returns when the newest
// is reached (unless Follow), when each fails, or when ctx ends.
func (s *Stream) Read(ctx context.Context, q Query, each func(m *Stored, more uint64) error) error {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: q.Filters, DeliverPolicy: jetstream.DeliverAllPolicy, InactiveThreshold: time.Minute}
	switch {
	case q.New:
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	case !q.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &q.Since
	}
	c, err := s.s.OrderedConsumer(ctx, cfg)
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	if !q.Follow && c.CachedInfo().NumPending == 0 {
		return nil
	}
	it, err := c.Messages(jetstream.PullMaxMessages(500))
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	defer it.Stop()
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read stream: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
		m := &Stored{Seq: meta.Sequence.Stream, Received: meta.Timestamp, Subject: msg.Subject(), Header: msg.Headers(), Body: msg.Data()}
		if err := each(m, meta.NumPending); err != nil {
			return err
		}
		if !q.Follow && meta.NumPending == 0 {
			return nil
		}
	}
}
