package store

import (
	"sync"
	"time"
)

// Stats are the figures of one store since it was opened.
type Stats struct {
	Commits       uint64
	Messages      uint64        // appended, once per queue
	LastBatch     int           // messages of the last commit
	CommitTime    time.Duration // of all commits
	LastCommit    time.Duration
	LongestCommit time.Duration
	QueuedBytes   int64 // of all blocks, and of requests on their way
	DiskBytes     int64 // what the files really take
	CacheHits     uint64
	CacheMisses   uint64
	DiskFull      bool // items are refused with ErrDiskFull
	Broken        bool // all writes are refused with ErrBroken
}

type stats struct {
	mu sync.Mutex
	v  Stats
}

func (s *stats) commit(messages int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v.Commits++
	s.v.Messages += uint64(messages)
	s.v.LastBatch, s.v.LastCommit = messages, took
	s.v.CommitTime += took
	s.v.LongestCommit = max(s.v.LongestCommit, took)
}

// Stats returns the store's figures; it looks at the directory for DiskBytes.
func (s *Store) Stats() Stats {
	s.stats.mu.Lock()
	v := s.stats.v
	s.stats.mu.Unlock()
	v.QueuedBytes = s.used.Load()
	v.DiskBytes = s.diskBytes()
	v.CacheHits, v.CacheMisses = s.cache.hits.Load(), s.cache.misses.Load()
	v.DiskFull, v.Broken = s.diskFull.Load(), s.broken.Load() != nil
	return v
}
