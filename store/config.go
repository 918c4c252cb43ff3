package store

import (
	"log/slog"
	"time"
)

// Limits that follow from the transaction size of the edge memory profile.
const (
	// MaxMessage bounds one encoded message with its target's Meta, in bytes.
	MaxMessage = 8 << 20
	// MaxRecord bounds one record's value, in bytes.
	MaxRecord = 4 << 20
	// MaxTargets bounds the blocks (queue and priority pairs) of one request.
	MaxTargets = 2500

	maxName    = 1024
	maxKey     = 8 << 10  // a record's bucket and key
	maxRequest = 64 << 20 // bytes of one request in all its queues
	maxDrops   = 64       // different drop reasons of one account

	maxBlock         = 4 << 20 // bytes of one block, unless one message is larger
	maxBlockMessages = 4096
	maxCommit        = 4 << 20 // bytes after which a commit takes no further request
	maxOpen          = 2048    // blocks of a queue that are leased or partly settled
	maxExceptions    = 512
	leaseBytes       = 1 << 20 // bytes of messages one Lease returns, at least one message
)

// Config says where the store lives and how much it may take. The zero value of
// every field but Dir means its default.
type Config struct {
	Dir string // created if missing; must hold nothing but the store

	// MaxBytes bounds the bytes of all blocks in all queues; items beyond it are
	// refused with ErrQuota. 0: no bound.
	MaxBytes int64
	// QueueMaxBytes bounds a queue that has no bound of its own (SetLimit), and
	// Policy says what happens beyond. 0: no bound.
	QueueMaxBytes int64
	Policy        Policy
	// Limit, if set, is asked instead of the two when a queue is opened or
	// created. What it says holds until Close and is not stored, so that a changed
	// configuration takes effect with the next Open. It must not call the store.
	Limit func(queue string) (maxBytes int64, p Policy)
	// ReserveBytes of the file system stay free: below it items are refused with
	// ErrDiskFull while settlements and records still work. Badger writes through
	// memory mappings, and a mapping the file system cannot back kills the
	// process; below a quarter of the reserve nothing at all is written.
	// Default 64 MiB.
	ReserveBytes int64
	// DeadBytes bounds the dead letters of one queue; the oldest make room and
	// stay counted as buried. Default 16 MiB.
	DeadBytes int64
	// CacheBytes bounds the newest blocks kept in memory for live consumers,
	// over all queues. Default 8 MiB.
	CacheBytes int64
	// IntakeBytes bounds what waits for the writer; beyond it Append waits.
	// Default 16 MiB.
	IntakeBytes int64
	// SettleDelay is how long a settlement may wait for a commit to travel with.
	// Default 50 ms.
	SettleDelay time.Duration
	// SweepEvery is the period of expiry in queues nobody leases from.
	// Default 2 s.
	SweepEvery time.Duration
	// ReclaimEvery is the period at which freed disk space is looked for.
	// Default 5 s.
	ReclaimEvery time.Duration

	Log *slog.Logger
	// Now is the clock of expiry and ages. Default time.Now.
	Now func() time.Time
	// BeforeCommit, if set, runs on the writer before every synced commit. It is
	// for fault injection in tests: what it delays is not acknowledged
	// meanwhile, and an error fails the commit before anything is written.
	BeforeCommit func() error
}

func (c *Config) defaults() {
	setDefault(&c.ReserveBytes, 64<<20)
	setDefault(&c.DeadBytes, 16<<20)
	setDefault(&c.CacheBytes, 8<<20)
	setDefault(&c.IntakeBytes, 16<<20)
	setDefault(&c.SettleDelay, 50*time.Millisecond)
	setDefault(&c.SweepEvery, 2*time.Second)
	setDefault(&c.ReclaimEvery, 5*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Limit == nil {
		maxBytes, p := c.QueueMaxBytes, c.Policy
		c.Limit = func(string) (int64, Policy) { return maxBytes, p }
	}
}

func setDefault[T ~int64](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}
