package uplink

import (
	"time"

	"golang.org/x/time/rate"
)

// burstTime is how long a quiet link may save up its allowance.
const burstTime = 250 * time.Millisecond

// pace holds the two rate limits of the link. One goroutine at a time waits.
type pace struct {
	messages, bytes *rate.Limiter
}

func newPace(messages, bytes float64) *pace {
	return &pace{messages: newLimiter(messages), bytes: newLimiter(bytes)}
}

func newLimiter(perSecond float64) *rate.Limiter {
	if perSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond*burstTime.Seconds())))
}

// wait waits until one packet of size bytes may be sent, and reports false if
// stop ends first.
func (p *pace) wait(stop <-chan struct{}, size int) bool {
	return reserve(p.messages, stop, 1) && reserve(p.bytes, stop, size)
}

// reserve takes n in portions that the burst allows.
func reserve(l *rate.Limiter, stop <-chan struct{}, n int) bool {
	if l == nil {
		return true
	}
	for n > 0 {
		portion := min(n, l.Burst())
		if !sleep(stop, l.ReserveN(time.Now(), portion).Delay()) {
			return false
		}
		n -= portion
	}
	return true
}

func sleep(stop <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}
