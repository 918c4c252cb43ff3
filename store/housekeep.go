package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	reclaimBusy = 8 << 20  // bytes of deleted blocks worth a look while work goes on
	reclaimIdle = 1 << 20  // and once deletions have ceased
	reclaimMore = 24 << 20 // bytes on disk beyond what is queued that are worth another look
	reclaimRuns = 5        // looks without new deletions
)

// housekeep expires and watches the free space, until Close.
func (s *Store) housekeep() {
	sweep, disk := time.NewTicker(s.cfg.SweepEvery), time.NewTicker(time.Second)
	defer sweep.Stop()
	defer disk.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-disk.C:
			s.checkDisk()
		case <-sweep.C:
			s.sweepAll()
		}
	}
}

// reclaimSpace gives disk space back, until Close.
func (s *Store) reclaimSpace() {
	tick := time.NewTicker(s.cfg.ReclaimEvery)
	defer tick.Stop()
	var r reclaimer
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if !r.due(s) {
			continue
		}
		if err := s.reclaim(); err != nil {
			s.log.Warn("give back disk space", "err", err)
		}
	}
}

func (s *Store) sweepAll() {
	for _, q := range s.everyQueue() {
		if err := q.sweep(); err != nil && !errors.Is(err, ErrClosed) {
			s.log.Error("expire messages", "queue", q.name, "err", err)
		}
		if err := q.trimDead(); err != nil && !errors.Is(err, ErrClosed) {
			s.log.Warn("delete dead letters beyond the quota", "queue", q.name, "err", err)
		}
	}
	s.finishDrops()
}

// checkDisk compares the free space with the reserve.
func (s *Store) checkDisk() {
	free, err := freeBytes(s.cfg.Dir)
	if err != nil {
		s.log.Error("read free disk space", "err", err)
		return
	}
	full := free < s.cfg.ReserveBytes
	if was := s.diskFull.Swap(full); was != full {
		s.log.Warn("free disk space crossed the reserve", "free", free, "reserve", s.cfg.ReserveBytes, "full", full)
	}
	s.diskDead.Store(free < s.cfg.ReserveBytes/4)
}

// reclaimer decides when to look for space.
type reclaimer struct {
	freed int64 // at the last look
	runs  int   // looks since something was deleted
}

// due reports whether much was deleted compared with what is left, or whether
// the last look left much behind: what a reader can still see is not dropped.
func (r *reclaimer) due(s *Store) bool {
	freed, used := s.freed.Load(), s.used.Load()
	idle := freed == r.freed
	r.freed = freed
	if freed >= reclaimBusy && freed >= used/2 || idle && freed >= reclaimIdle && freed >= used/8 {
		r.freed, r.runs = 0, 0
		return true
	}
	if !idle || r.runs >= reclaimRuns {
		return false
	}
	r.runs++
	return s.diskBytes() > 2*used+reclaimMore
}

// reclaim gives space back. Badger does not do it by itself: deletions rest in
// the memtable until it is full, dead tables until a compaction meets them, and
// dead value log files until the compaction has counted them. So: flush,
// flatten, collect.
func (s *Store) reclaim() error {
	freed := s.freed.Load()
	if ran, err := s.onWriter(s.flushMemtable); err != nil || !ran {
		return err
	}
	s.freed.Add(-freed)
	if !s.reads.enter() {
		return nil
	}
	defer s.reads.leave()
	if err := s.db.Flatten(1); err != nil {
		return fmt.Errorf("flatten: %w", err)
	}
	for {
		select {
		case <-s.stop:
			return nil
		default:
		}
		// Between commits: collecting reads a memtable's newest version without the
		// lock that a commit writes it under. One file is a few milliseconds.
		ran, err := s.onWriter(func() error { return s.db.RunValueLogGC(0.5) })
		if !ran || errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("collect value log: %w", err)
		}
	}
}

// onWriter runs f between two commits and waits for it; ran is false when the
// store is closing.
func (s *Store) onWriter(f func() error) (ran bool, err error) {
	done := make(chan struct{})
	ran = s.task(func() { err = f(); close(done) })
	if ran {
		<-done
	}
	return ran, err
}

// flushMemtable makes Badger write its memtable to a table: dropping a prefix
// that exists is the one public operation that does. It blocks writes, so it
// runs on the writer.
func (s *Store) flushMemtable() error {
	if err := s.writable(); err != nil {
		return err
	}
	err := s.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte{keyFlush}, nil) })
	if err == nil {
		err = s.db.DropPrefix([]byte{keyFlush})
	}
	if err != nil {
		return fmt.Errorf("flush memtable: %w", err)
	}
	return nil
}

func (s *Store) diskBytes() int64 { return diskUsage(filepath.Join(s.cfg.Dir, dataDir)) }
