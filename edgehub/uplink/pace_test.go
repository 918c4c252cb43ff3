package uplink

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPaceKeepsBothRates(t *testing.T) {
	for name, c := range map[string]struct {
		messages, bytes float64
		n, size         int
		want            time.Duration
	}{
		"messages":              {messages: 100, n: 525, size: 10, want: 5 * time.Second},
		"bytes":                 {bytes: 1000, n: 525, size: 10, want: 5 * time.Second},
		"the slower counts":     {messages: 1000, bytes: 1000, n: 525, size: 10, want: 5 * time.Second},
		"larger than the burst": {bytes: 1000, n: 1, size: 10250, want: 10 * time.Second},
		"no limit":              {n: 1000, size: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, began := newPace(c.messages, c.bytes), time.Now()
				for range c.n {
					if !p.wait(nil, c.size) {
						t.Fatal("stopped")
					}
				}
				if d := time.Since(began) - c.want; d < -time.Millisecond || d > time.Millisecond {
					t.Errorf("took %v, want %v", time.Since(began), c.want)
				}
			})
		})
	}
}

func TestPaceStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := newPace(0.001, 0), make(chan struct{})
		p.wait(stop, 1)
		time.AfterFunc(time.Second, func() { close(stop) })
		if p.wait(stop, 1) {
			t.Error("went on after the stop")
		}
	})
}
