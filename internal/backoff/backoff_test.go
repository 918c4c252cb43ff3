package backoff

import (
	"testing"
	"time"
)

func TestWaitsGrowToTheCapAndNeverBeyond(t *testing.T) {
	const rounds = 200
	b := Backoff{Base: 10 * time.Millisecond, Max: time.Second}
	var longest [100]time.Duration
	for range rounds {
		b.Reset()
		for i := range longest {
			d := b.Next()
			if ceiling := min(time.Second, 10*time.Millisecond<<min(i, 20)); d < 0 || d > ceiling {
				t.Fatalf("attempt %d waits %v, want 0 to %v", i, d, ceiling)
			}
			longest[i] = max(longest[i], d)
		}
	}
	if longest[0] > 10*time.Millisecond || longest[99] < 500*time.Millisecond {
		t.Errorf("after %d rounds the longest first wait is %v and the longest hundredth %v", rounds, longest[0], longest[99])
	}
}

func TestJitterIsFull(t *testing.T) {
	b := Backoff{Base: time.Hour, Max: time.Hour}
	var low, high bool
	for range 200 {
		d := b.Next()
		low, high = low || d < 20*time.Minute, high || d > 40*time.Minute
	}
	if !low || !high {
		t.Errorf("200 waits left a third of the range out: low %v, high %v", low, high)
	}
}

func TestZeroValueAndReset(t *testing.T) {
	var b Backoff
	if d := b.Next(); d > DefaultBase {
		t.Errorf("first wait of the zero value is %v, want at most %v", d, DefaultBase)
	}
	b.Next()
	if b.Attempt() != 2 {
		t.Errorf("attempt is %d after two waits", b.Attempt())
	}
	b.Reset()
	if d := b.Next(); d > DefaultBase || b.Attempt() != 1 {
		t.Errorf("after Reset: wait %v, attempt %d", d, b.Attempt())
	}
}
