package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// RemovedQueue is the name under which Ledger shows the accounts of queues that
// were dropped: per rule, the sums of all of them.
const RemovedQueue = "$removed"

// Drop deletes the queue called name with everything in it: waiting and leased
// messages count as dropped "removed", dead letters stay counted as buried, and
// its accounts are added to those of RemovedQueue. A queue of that name made
// later begins with a higher sequence than this one ever gave. Dropping a queue
// that does not exist is no error. Drop waits for its commits.
func (s *Store) Drop(name string) error {
	s.mu.Lock()
	q := s.queues[name]
	if q == nil {
		s.mu.Unlock()
		return nil
	}
	q.dropMu.Lock()
	defer q.dropMu.Unlock()
	q.removed.Store(true)
	delete(s.queues, name)
	s.removing[q.id] = q
	s.seqBase = max(s.seqBase, q.Head())
	s.mu.Unlock()
	if err := s.remove(q); err != nil {
		return fmt.Errorf("drop queue %s: %w", name, err)
	}
	return nil
}

// finishDrops goes on with drops that a crash or a failed commit cut off.
func (s *Store) finishDrops() {
	s.mu.RLock()
	qs := slices.Collect(maps.Values(s.removing))
	s.mu.RUnlock()
	for _, q := range qs {
		if !q.dropMu.TryLock() {
			continue
		}
		err := s.remove(q)
		q.dropMu.Unlock()
		if err != nil && !errors.Is(err, ErrClosed) {
			s.log.Warn("finish dropping queue", "queue", q.name, "err", err)
		}
	}
}

// remove empties a queue that is no longer known and deletes what is left of it.
// It may be called again after it failed. Needs dropMu.
func (s *Store) remove(q *Queue) error {
	q.mu.Lock()
	q.changed = true // a crash from here on is finished by the next Open
	q.mu.Unlock()
	// The writer has done what came before; later requests find removed set.
	if err := s.do(&op{eager: true, queues: []*Queue{q}}); err != nil {
		return err
	}
	s.mu.Lock()
	s.seqBase = max(s.seqBase, q.Head())
	s.mu.Unlock()
	if _, err := q.purge("removed"); err != nil {
		return err
	}
	if _, err := q.PurgeDead(); err != nil {
		return err
	}
	q.mu.Lock()
	accounts := len(q.accounts)
	q.mu.Unlock()
	return s.do(&op{eager: true, weight: weight{accounts*4 + 3, accounts*256 + 256}, apply: func(c *commit) error { return c.drop(q) }})
}

// drop deletes the records of an empty queue and moves its accounts.
func (c *commit) drop(q *Queue) error {
	c.put([]byte{keyStore}, c.s.header())
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.blocks > 0 || len(q.open) > 0 {
		return fmt.Errorf("%d blocks are left", q.blocks)
	}
	for rule, a := range q.accounts {
		g := c.goneAccount(rule)
		g.accepted += a.accepted
		g.out.merge(&a.out)
		c.del(ruleKey(keyIn, q.id, rule))
		c.del(ruleKey(keyOut, q.id, rule))
	}
	c.del(queueKey(keyQueue, q.id))
	c.del(queueKey(keyExcept, q.id))
	if c.dropped == nil {
		c.dropped = make(map[*Queue]bool)
	}
	c.dropped[q] = true
	c.then(func() {
		q.mu.Lock()
		q.deleted = true
		clear(q.accounts)
		q.mu.Unlock()
		c.s.forget(q)
	})
	return nil
}

// forget drops what memory holds of a deleted queue.
func (s *Store) forget(q *Queue) {
	s.cache.forget(q.id)
	s.mu.Lock()
	delete(s.removing, q.id)
	s.mu.Unlock()
}

// do runs an operation and waits for its commit.
func (s *Store) do(o *op) error {
	done := make(chan error, 1)
	o.done = func(err error) { done <- err }
	s.in.put(o)
	return <-done
}
