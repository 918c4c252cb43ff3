package router

import (
	"time"

	"github.com/penstock-io/penstock/message"
)

// firstPlausible is a time before which no hub of this kind ran. A device without
// a clock of its own boots in 1970 and takes messages before the network tells it
// the time.
var firstPlausible = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// plausible reports whether the clock was set when m was accepted. If it was not,
// no time to live can be counted from then: once the clock is set, everything
// would be over at once. Such a message waits until it is delivered.
func plausible(m *message.Message) bool { return m.Accepted >= firstPlausible }

// expiry is when m expires in the queue of t, Unix milliseconds: when its rule or
// its publisher says, whichever is sooner, or 0, never, if it was accepted at a
// time that is not plausible.
func expiry(t *message.Target, m *message.Message) int64 {
	if !plausible(m) {
		return 0
	}
	return sooner(t.Expires, m.Expires)
}

// sooner is the earlier of two expiries, of which 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
