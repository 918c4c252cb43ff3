package ingress

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

const (
	defaultWaiting  = 64 << 20
	defaultWindow   = 10 * time.Minute
	defaultIDs      = 100_000
	defaultSnapshot = time.Minute
	defaultIndex    = 1 << 30

	// overhead is what a waiting message takes beside its size.
	overhead = 512
)

// Config of an Ingress. The zero value of each field but Snapshot means its default.
type Config struct {
	Snapshot      string        // the index's snapshot file
	SnapshotEvery time.Duration // default one minute, when something changed
	WaitingBytes  int           // what may wait unacknowledged; default 64 MiB
	IDWindow      time.Duration // how long a message id without origin is recognised; default 10 minutes
	IDs           int           // and how many of them; default 100,000
	IndexBytes    int           // memory of all origins' sequences; default 1 GiB
}

// Ingress is the Acceptor of the cloud. Accept may be called from any goroutine.
type Ingress struct {
	cfg     Config
	log     *slog.Logger
	stream  *stream.Stream
	metrics *metrics

	mu      sync.Mutex
	arrived *sync.Cond // something waits, or closed
	room    *sync.Cond // the waiting bytes fell, or closed
	queue   []*waiting
	bytes   int
	closed  bool
	fault   error     // why the last publish failed; nil when it succeeded
	since   time.Time // of fault

	// Below belongs to the committer, and index to it for writing.
	index    *index
	created  time.Time // the stream the index describes
	run      string    // names this process in commit names
	attempts uint64
	flying   map[string][]*entry // attempts of the commit under way whose fate may be unknown
	chunk    []entry
	dirty    bool // the index differs from the snapshot file

	firstOrigin map[message.Origin]*entry // of the chunk being classified
	firstKey    map[digest]*entry
}

// waiting is a batch on its way.
type waiting struct {
	batch *message.Batch
	size  int
	next  int     // first message not yet taken into a chunk
	errs  []error // nil while all are well
}

// New loads the snapshot and reads the headers of the stream behind it. It
// starts nothing; Run does.
func New(ctx context.Context, s *stream.Stream, cfg Config, log *slog.Logger) (*Ingress, error) {
	cfg.WaitingBytes = orDefault(cfg.WaitingBytes, defaultWaiting)
	cfg.IDWindow = orDefault(cfg.IDWindow, defaultWindow)
	cfg.IDs = orDefault(cfg.IDs, defaultIDs)
	cfg.IndexBytes = orDefault(cfg.IndexBytes, defaultIndex)
	cfg.SnapshotEvery = orDefault(cfg.SnapshotEvery, defaultSnapshot)
	g := &Ingress{cfg: cfg, log: log, stream: s, run: nuid.Next(), flying: map[string][]*entry{}, dirty: true,
		firstOrigin: map[message.Origin]*entry{}, firstKey: map[digest]*entry{}}
	g.arrived, g.room = sync.NewCond(&g.mu), sync.NewCond(&g.mu)
	g.metrics = newMetrics(g)
	if err := g.load(ctx); err != nil {
		return nil, fmt.Errorf("load index of origins: %w", err)
	}
	return g, nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Accept takes responsibility for b. It blocks while the waiting bytes are at
// their bound, which holds the sender's connection back. After Run has ended it
// completes b with ErrClosed itself.
func (g *Ingress) Accept(b *message.Batch) {
	w := &waiting{batch: b}
	for i := range b.Messages {
		w.size += b.Messages[i].Size() + overhead
	}
	g.mu.Lock()
	for !g.closed && g.bytes > 0 && g.bytes+w.size > g.cfg.WaitingBytes {
		g.room.Wait()
	}
	if g.closed {
		g.mu.Unlock()
		w.failRest(ErrClosed)
		b.Done(b, w.errs)
		return
	}
	g.queue = append(g.queue, w)
	g.bytes += w.size
	g.mu.Unlock()
	g.arrived.Signal()
}

// Run commits what was accepted until ctx ends, then fails what still waits
// with ErrClosed and writes a snapshot.
func (g *Ingress) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		g.mu.Lock()
		g.closed = true
		g.mu.Unlock()
		g.arrived.Broadcast()
		g.room.Broadcast()
	})
	defer stop()
	saved := time.Now()
	for {
		chunk, finished := g.take()
		if chunk == nil && finished == nil {
			break
		}
		g.commit(ctx, chunk)
		g.complete(finished)
		if time.Since(saved) >= g.cfg.SnapshotEvery {
			saved = time.Now()
			if err := g.save(); err != nil {
				g.log.Warn("index snapshot not written, the next start reads more of the stream", "err", err)
			}
		}
	}
	return g.save()
}

// take waits for batches and moves the next chunk's worth out of the queue: the
// messages, and the batches whose last message is among them. Both are nil when
// the ingress is closed and nothing waits.
func (g *Ingress) take() (chunk []*entry, finished []*waiting) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.queue) == 0 && !g.closed {
		g.arrived.Wait()
	}
	size, n := 0, 0
	clear(g.chunk)
	g.chunk = g.chunk[:0]
	for n < len(g.queue) && len(g.chunk) < maxChunk && size < maxChunkBytes {
		w := g.queue[n]
		for w.next < len(w.batch.Messages) && len(g.chunk) < maxChunk && size < maxChunkBytes {
			m := &w.batch.Messages[w.next]
			g.chunk = append(g.chunk, entry{w: w, i: w.next, m: m})
			size += m.Size() + overhead
			w.next++
		}
		if w.next < len(w.batch.Messages) {
			break
		}
		finished = append(finished, w)
		n++
	}
	clear(g.queue[:n])
	g.queue = g.queue[n:]
	if len(g.queue) == 0 {
		g.queue = nil
	}
	for i := range g.chunk {
		chunk = append(chunk, &g.chunk[i])
	}
	return chunk, finished
}

// complete tells the senders, in the order of their Accept.
func (g *Ingress) complete(finished []*waiting) {
	freed := 0
	for _, w := range finished {
		freed += w.size
		w.batch.Done(w.batch, w.errs)
	}
	g.mu.Lock()
	g.bytes -= freed
	g.mu.Unlock()
	g.room.Broadcast()
}

func (w *waiting) fail(i int, err error) {
	if w.errs == nil {
		w.errs = make([]error, len(w.batch.Messages))
	}
	w.errs[i] = err
}

func (w *waiting) failRest(err error) {
	for ; w.next < len(w.batch.Messages); w.next++ {
		w.fail(w.next, err)
	}
}
