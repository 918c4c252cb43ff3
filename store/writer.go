package store

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// write is the writer goroutine: the only one that changes the database.
func (s *Store) write() {
	defer close(s.written)
	for s.in.wait(s.cfg.SettleDelay, s.tasks) {
		err := s.commit()
		if _, _, closed := s.in.pending(); closed && err != nil {
			s.abandon(err)
			return
		}
		if err != nil {
			s.pause()
		}
	}
}

// pause keeps a failing disk from being asked without end; it ends early at Close.
func (s *Store) pause() {
	select {
	case <-s.stop:
	case <-time.After(s.cfg.SettleDelay):
	}
}

// commit takes what waits, up to the size of one transaction, and makes it durable.
func (s *Store) commit() error {
	c := &commit{s: s, ops: s.takeOps()}
	start := time.Now()
	for _, q := range c.run(s.takeDirty(len(c.ops) == 0)) {
		s.in.addDirty(q)
	}
	err := s.writable()
	if err == nil && s.cfg.BeforeCommit != nil {
		err = s.cfg.BeforeCommit()
	}
	if err == nil {
		var clean bool
		if clean, err = c.write(); err != nil && !clean {
			s.fail(err)
		}
	}
	if errors.Is(err, badger.ErrTxnTooBig) {
		return s.tooBig(c)
	}
	if s.atMost *= 2; s.atMost > maxBlockMessages {
		s.atMost = 0
	}
	if err == nil {
		c.publish()
		s.committed(c, time.Since(start))
	} else {
		err = fmt.Errorf("commit: %w", err)
		c.undo(false)
	}
	s.finish(c, err)
	return err
}

// takeOps takes operations for one commit.
func (s *Store) takeOps() []*op {
	var bytes int64
	var n, messages int
	var sum weight
	return s.in.take(func(o *op) bool {
		w := sum.plus(o.weight)
		if n > 0 && (bytes+o.bytes > maxCommit || messages+o.messages > maxBlockMessages || !w.half() || n == s.atMost) {
			return false
		}
		n, sum, bytes, messages = n+1, w, bytes+o.bytes, messages+o.messages
		return true
	})
}

// takeDirty takes the queues with settlements. While commits are kept small they
// go alone, and one at a time.
func (s *Store) takeDirty(alone bool) []*Queue {
	dirty := s.in.takeDirty()
	if s.atMost == 0 {
		return dirty
	}
	n := 0
	if alone {
		n = min(1, len(dirty))
	}
	for _, q := range dirty[n:] {
		s.in.addDirty(q)
	}
	return dirty[:n]
}

func (s *Store) committed(c *commit, took time.Duration) {
	var bytes int64
	var messages int
	for _, o := range c.ops {
		bytes, messages = bytes+o.bytes, messages+o.messages
	}
	s.stats.commit(messages, took)
	if s.unchecked += bytes; s.unchecked > s.cfg.ReserveBytes/8 {
		s.unchecked = 0
		s.checkDisk()
	}
}

// tooBig handles a commit that turned out to be more than one transaction, which
// weights should prevent: the next takes half as many operations. One that does
// not fit alone never will, and fails.
func (s *Store) tooBig(c *commit) error {
	s.log.Error("commit is too large for a transaction", "operations", len(c.ops), "entries", c.wrote.entries, "bytes", c.wrote.lsm)
	s.atMost = max(1, len(c.ops)/2)
	if len(c.ops)+c.extra > 1 {
		c.undo(true)
		s.in.putBack(append(c.ops, c.later...))
		return nil
	}
	c.undo(false)
	s.in.putBack(c.later)
	if len(c.ops) == 0 {
		return fmt.Errorf("commit: %w", ErrTooLarge)
	}
	s.completions.put(c.ops[0], fmt.Errorf("commit: %w", ErrTooLarge))
	return nil
}

// finish hands the operations to the completion goroutine, in order; after a
// failure settlements go back to the intake instead.
func (s *Store) finish(c *commit, err error) {
	var again []*op
	for _, o := range c.ops {
		if err != nil && o.keep {
			again = append(again, o)
			continue
		}
		e := err
		if f := c.failed[o]; f != nil && e == nil {
			e = f
		}
		s.completions.put(o, e)
	}
	s.in.putBack(append(again, c.later...))
}

// abandon completes what can no longer be written when the store closes.
func (s *Store) abandon(err error) {
	for _, o := range s.in.take(func(*op) bool { return true }) {
		s.completions.put(o, err)
	}
}

type brokenError struct{ err error }

// fail stops all writes for good.
func (s *Store) fail(err error) {
	if s.broken.CompareAndSwap(nil, &brokenError{err}) {
		s.log.Error("store failed to write", "err", err)
		close(s.failed)
	}
}

// Err returns nil, or ErrBroken with its cause once a write has failed and left
// unknown what is on disk. Only a restart recovers.
func (s *Store) Err() error {
	if b := s.broken.Load(); b != nil {
		return fmt.Errorf("%w (%w)", ErrBroken, b.err)
	}
	return nil
}

// Failed is closed when Err is no longer nil.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// writable reports why nothing can be written.
func (s *Store) writable() error {
	if err := s.Err(); err != nil {
		return err
	}
	if s.diskDead.Load() {
		return ErrDiskFull
	}
	return nil
}

// completions runs callbacks in commit order on one goroutine, so that the next
// commit does not wait for them.
type completions struct {
	mu     sync.Mutex
	some   sync.Cond
	list   []completion
	closed bool
}

type completion struct {
	o   *op
	err error
}

func newCompletions() *completions {
	c := new(completions)
	c.some.L = &c.mu
	return c
}

func (c *completions) put(o *op, err error) {
	c.mu.Lock()
	c.list = append(c.list, completion{o, err})
	c.mu.Unlock()
	c.some.Signal()
}

func (c *completions) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.some.Signal()
}

func (c *completions) run() {
	for {
		c.mu.Lock()
		for len(c.list) == 0 && !c.closed {
			c.some.Wait()
		}
		list := c.list
		c.list = nil
		c.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for _, x := range list {
			x.o.complete(x.err)
		}
	}
}
