package store

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// Store is an open store. See the package comment.
type Store struct {
	cfg  Config
	log  *slog.Logger
	db   *badger.DB
	blog *badgerLog
	lock *dirLock

	epoch string
	rules ruleTable
	cache *cache
	in    *intake

	mu       sync.RWMutex
	queues   map[string]*Queue
	removing map[uint32]*Queue // dropped, but not gone yet
	gone     *Queue            // holds the accounts of dropped queues
	lastID   uint32
	seqBase  uint64 // new queues begin here

	used     atomic.Int64 // bytes of all blocks and of requests on their way
	freed    atomic.Int64 // bytes of deleted blocks since space was last given back
	diskFull atomic.Bool  // less than the reserve is free
	diskDead atomic.Bool  // less than a quarter of it
	broken   atomic.Pointer[brokenError]

	failed chan struct{} // closed with broken

	unchecked int64 // bytes written since the free space was read; the writer's
	atMost    int   // operations of the next commit, after one was too large; 0: any number

	reads       gate
	completions *completions
	tasks       chan func()
	stop        chan struct{} // closed when Close begins
	written     chan struct{} // closed when the writer has ended
	background  sync.WaitGroup
	closing     sync.Once
	closeErr    error
	stats       stats
}

// Epoch names this life of the store: it was drawn when the store was created.
func (s *Store) Epoch() string { return s.epoch }

func (s *Store) now() int64 { return s.cfg.Now().UnixMilli() }

// Queue opens the queue called name, or creates it. Names are 1 to 1024 bytes;
// those that begin with "$removed" are reserved.
func (s *Store) Queue(name string) (*Queue, error) {
	s.mu.RLock()
	q := s.queues[name]
	s.mu.RUnlock()
	if q != nil {
		return q, nil
	}
	if name == "" || len(name) > maxName || strings.HasPrefix(name, RemovedQueue) {
		return nil, fmt.Errorf("open queue %q: %w", truncate(name, 64), ErrName)
	}
	limit := s.configured(name)
	s.mu.Lock()
	if q = s.queues[name]; q != nil {
		s.mu.Unlock()
		return q, nil
	}
	s.lastID++
	q = newQueue(s, s.lastID, name)
	q.bound.Store(limit)
	q.next = s.seqBase
	q.changed = true
	s.queues[name] = q
	s.mu.Unlock()
	q.touch()
	return q, nil
}

// Queues returns the names of all queues, sorted.
func (s *Store) Queues() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Keys(s.queues), cmp.Compare[string])
}

// task runs f on the writer between two commits; false after Close.
func (s *Store) task(f func()) bool {
	select {
	case s.tasks <- f:
		return true
	case <-s.stop:
		return false
	case <-s.written:
		return false
	}
}

// Close writes what waits, completes it, and closes the database. What is called
// afterwards gets ErrClosed.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

// close stops in this order: background work, which uses the writer; the
// writer, which empties the intake; completions; readers; the database.
func (s *Store) close() error {
	close(s.stop)
	s.in.close()
	<-s.written
	s.completions.close()
	s.background.Wait()
	s.reads.close()
	err := s.db.Close()
	s.lock.release()
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// gate lets readers in until it is closed, and then waits for those inside.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.inside.Done() }

func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}
