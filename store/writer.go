package store

import (
	"fmt"
	"sync"
	"time"
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
	c := &commit{s: s}
	var bytes int64
	var messages, entries, lsm int
	c.ops = s.in.take(func(o *op) bool {
		if entries > 0 && (bytes+o.bytes > maxCommit || messages+o.messages > maxBlockMessages ||
			entries+o.entries > txnEntries/2 || lsm+o.lsm > txnBytes/2) {
			return false
		}
		bytes, messages = bytes+o.bytes, messages+o.messages
		entries, lsm = entries+o.entries+1, lsm+o.lsm
		return true
	})
	start := time.Now()
	for _, q := range c.run(s.in.takeDirty()) {
		s.in.addDirty(q)
	}
	err := s.writable()
	if err == nil && s.cfg.BeforeCommit != nil {
		err = s.cfg.BeforeCommit()
	}
	if err == nil {
		var clean bool
		if clean, err = c.write(); err != nil && !clean {
			s.broken.Store(&brokenError{err})
			s.log.Error("store failed to write", "err", err)
		}
	}
	if err == nil {
		c.publish()
		s.stats.commit(messages, time.Since(start))
		if s.unchecked += bytes; s.unchecked > s.cfg.ReserveBytes/8 {
			s.unchecked = 0
			s.checkDisk()
		}
	} else {
		err = fmt.Errorf("commit: %w", err)
		c.undo()
	}
	s.finish(c, err)
	return err
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
	s.in.putBack(again)
}

// abandon completes what can no longer be written when the store closes.
func (s *Store) abandon(err error) {
	for _, o := range s.in.take(func(*op) bool { return true }) {
		s.completions.put(o, err)
	}
}

type brokenError struct{ err error }

// writable reports why nothing can be written.
func (s *Store) writable() error {
	if b := s.broken.Load(); b != nil {
		return fmt.Errorf("%w (%w)", ErrBroken, b.err)
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
