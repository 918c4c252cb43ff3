package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DefaultName is the stream's name unless configured otherwise.
const DefaultName = "HUB_MESSAGES"

// Config describes the stream. Retention removes the oldest messages; what the
// hub remembers of their origins stays.
type Config struct {
	Name     string        // "": DefaultName
	Prefix   string        // of its subjects; "": DefaultPrefix
	Replicas int           // 0: 1
	MaxAge   time.Duration // 0: for ever
	MaxBytes int64         // 0: no limit but the disk
}

// Stream is the log of received messages. Safe for concurrent use.
type Stream struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	s      jetstream.Stream
	prefix string
	link   *link
}

// Connect opens a client connection that reconnects for ever and never buffers
// while disconnected: a publish that cannot leave now fails now.
func Connect(url string, opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{
		nats.Name("cloudhub"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), nats.Timeout(5 * time.Second),
	}, opts...)
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}

// Open creates or updates the stream over nc, which stays the caller's but for
// its disconnect handler.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Stream, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	if cfg.Name == "" {
		cfg.Name = DefaultName
	}
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	sc := jetstream.StreamConfig{
		Name: cfg.Name, Description: "messages received by cloudhub", Subjects: []string{cfg.Prefix + ".>"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld,
		Replicas: max(cfg.Replicas, 1), MaxAge: cfg.MaxAge, MaxBytes: cfg.MaxBytes,
		AllowAtomicPublish: true, AllowDirect: true,
	}
	if sc.MaxBytes == 0 {
		sc.MaxBytes = -1
	}
	s, err := js.CreateOrUpdateStream(ctx, sc)
	if err != nil {
		return nil, fmt.Errorf("create stream %s: %w", cfg.Name, err)
	}
	if !s.CachedInfo().Config.AllowAtomicPublish {
		return nil, fmt.Errorf("create stream %s: the NATS server does not know atomic batches, version 2.12 or later is needed", cfg.Name)
	}
	return &Stream{nc: nc, js: js, s: s, prefix: cfg.Prefix, link: watch(nc)}, nil
}

// Conn is the connection the stream is used over.
func (s *Stream) Conn() *nats.Conn { return s.nc }

// JetStream is the account the stream lives in.
func (s *Stream) JetStream() jetstream.JetStream { return s.js }

// State is what the stream holds now.
type State struct {
	Created     time.Time // tells this stream from another of the same name
	First, Last uint64
	Messages    uint64
	Bytes       uint64
	MaxMsgSize  int // bytes of headers and body; 0: no limit but the server's
}

// State asks the server.
func (s *Stream) State(ctx context.Context) (State, error) {
	ctx, cancel := s.Bound(ctx, exchange)
	defer cancel()
	info, err := s.s.Info(ctx)
	if err != nil {
		return State{}, fmt.Errorf("read stream state: %w", err)
	}
	return State{
		Created: info.Created, First: info.State.FirstSeq, Last: info.State.LastSeq,
		Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxMsgSize: max(int(info.Config.MaxMsgSize), 0),
	}, nil
}

// Stored is one message as it stands in the stream.
type Stored struct {
	Seq      uint64
	Received time.Time // when the stream stored it
	Subject  string
	Header   nats.Header
	Body     []byte // nil when only headers were asked for
}

// exchange is how long one question to the server may take.
const exchange = 5 * time.Second

// replayChunk is how many headers one request asks for: enough that the round
// trip does not count, and below what a slow subscription buffers.
const replayChunk = 2048

// Headers calls each with every stored message from sequence from on, in order,
// without bodies, until what was stored when it was called has been read. It
// returns the stream's state of that moment. ErrInterrupted means that a part
// may be missing.
func (s *Stream) Headers(ctx context.Context, from uint64, each func(*Stored) error) (State, error) {
	st, err := s.State(ctx)
	if err != nil || st.Messages == 0 || st.Last < from {
		return st, err
	}
	bound, cancel := s.Bound(ctx, exchange)
	defer cancel()
	c, err := s.s.CreateConsumer(bound, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq: max(from, 1), HeadersOnly: true, MemoryStorage: true, InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return st, fmt.Errorf("read stream headers: %w", err)
	}
	defer s.forget(ctx, c)
	left, next := c.CachedInfo().NumPending, uint64(1)
	for left > 0 {
		if left, next, err = s.chunk(c, min(left, replayChunk), st.Last, next, each); err != nil {
			return st, fmt.Errorf("read stream headers: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return st, fmt.Errorf("read stream headers: %w", err)
		}
	}
	return st, nil
}

// chunk reads the next n messages: what is left afterwards, and the consumer
// sequence expected next.
func (s *Stream) chunk(c jetstream.Consumer, n, last, next uint64, each func(*Stored) error) (uint64, uint64, error) {
	batch, err := c.Fetch(int(n), jetstream.FetchMaxWait(2*time.Second))
	if err != nil {
		return 0, 0, err
	}
	left, got := uint64(0), false
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return 0, 0, err
		}
		// Nothing is acknowledged, so a delivery lost with a connection is not
		// repeated: only a gap in the consumer's own count shows it.
		if meta.Sequence.Consumer != next {
			return 0, 0, ErrInterrupted
		}
		next, left, got = next+1, meta.NumPending, true
		if meta.Sequence.Stream > last {
			return 0, next, nil
		}
		if err := each(&Stored{Seq: meta.Sequence.Stream, Received: meta.Timestamp, Subject: msg.Subject(), Header: msg.Headers()}); err != nil {
			return 0, 0, err
		}
		if meta.Sequence.Stream == last {
			left = 0
		}
	}
	if !got {
		return 0, 0, errors.Join(ErrInterrupted, batch.Error())
	}
	return left, next, nil
}

// forget removes a consumer early; the server would do so after its inactivity.
func (s *Stream) forget(ctx context.Context, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.s.DeleteConsumer(ctx, c.CachedInfo().Name)
}
