// Package backoff spaces out retries: exponential growth, a cap, and full
// jitter, so that many clients of one failed peer do not come back together.
//
// A Backoff belongs to one goroutine. It starts nothing and keeps no timer.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Defaults of a Backoff's zero fields.
const (
	DefaultBase = 200 * time.Millisecond
	DefaultMax  = 30 * time.Second
)

// Backoff yields the waits between the attempts of one operation. The zero
// value is ready to use.
type Backoff struct {
	Base time.Duration // upper bound of the first wait
	Max  time.Duration // upper bound of every wait

	attempt int
}

// Next returns how long to wait before the next attempt: a random duration
// between zero and Base doubled per attempt, at most Max.
func (b *Backoff) Next() time.Duration {
	base, limit := b.Base, b.Max
	if base <= 0 {
		base = DefaultBase
	}
	if limit <= 0 {
		limit = DefaultMax
	}
	ceiling := limit
	// Doubling by shift: beyond 62 bits, or on overflow, the cap holds.
	if d := base << min(b.attempt, 62); d > 0 && d>>min(b.attempt, 62) == base && d < limit {
		ceiling = d
	}
	b.attempt++
	return rand.N(ceiling + 1)
}

// Attempt is how many waits Next has given since the last Reset.
func (b *Backoff) Attempt() int { return b.attempt }

// Reset starts again from Base: the operation succeeded.
func (b *Backoff) Reset() { b.attempt = 0 }
