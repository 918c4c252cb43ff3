package crash

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// plan is how hard a run is.
type plan struct {
	rand    *rand.Rand
	total   time.Duration // 0: one round of every fault
	pause   time.Duration // publishing between two faults, at most
	stopped time.Duration // of the cloud's SIGSTOP, at most
	backlog int64         // bytes in the store when the hub is killed
	rate    float64       // messages per second and device
}

func newPlan(t *testing.T) plan {
	t.Helper()
	p := plan{pause: 300 * time.Millisecond, stopped: 2 * time.Second, backlog: 16 << 20, rate: 400}
	if v := os.Getenv("PENSTOCK_CRASH"); v != "" {
		var err error
		if p.total, err = time.ParseDuration(v); err != nil {
			t.Fatalf("PENSTOCK_CRASH: %v", err)
		}
		p.pause, p.stopped, p.backlog, p.rate = 3*time.Second, 20*time.Second, 1<<30, 1000
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("PENSTOCK_CRASH_SEED"), strconv.FormatUint(rand.Uint64(), 10)), 10, 64)
	if err != nil {
		t.Fatalf("PENSTOCK_CRASH_SEED: %v", err)
	}
	t.Logf("PENSTOCK_CRASH_SEED=%d", seed)
	p.rand = rand.New(rand.NewPCG(seed, 0))
	return p
}

// upTo is a random time, at least a quarter of d.
func (p *plan) upTo(d time.Duration) time.Duration {
	return d/4 + time.Duration(p.rand.Int64N(int64(d)*3/4))
}

// faults are what may happen to the hubs; each leaves them running.
var faults = map[string]func(r *rig, p *plan){
	"kill edgehub": func(r *rig, p *plan) {
		r.edge.kill()
		r.edge.start()
	},
	"kill cloudhub": func(r *rig, p *plan) {
		r.cloud.kill()
		r.cloud.start()
	},
	"kill both": func(r *rig, p *plan) {
		r.cloud.kill()
		r.edge.kill()
		r.edge.start() // without a cloud
		r.cloud.start()
	},
	"stop the cloud": func(r *rig, p *plan) {
		r.cloud.signal(syscall.SIGSTOP)
		passes(p.upTo(p.stopped))
		r.cloud.signal(syscall.SIGCONT)
	},
	"kill edgehub while the cloud is stopped": func(r *rig, p *plan) {
		r.cloud.signal(syscall.SIGSTOP)
		passes(p.upTo(p.pause))
		r.edge.kill()
		r.edge.start()
		r.cloud.signal(syscall.SIGCONT)
	},
	"cut the leaves": func(r *rig, p *plan) { r.front.Cut() },
	"cut the line":   func(r *rig, p *plan) { r.proxy.Cut() },
	"freeze the line": func(r *rig, p *plan) {
		r.proxy.Freeze()
		passes(p.upTo(p.stopped))
		r.proxy.Thaw()
	},
	"lose the line for a while": func(r *rig, p *plan) {
		r.proxy.Refuse(true)
		r.proxy.Cut()
		passes(p.upTo(p.stopped))
		r.proxy.Refuse(false)
	},
}

// passes lets time go by for the hubs under test.
func passes(d time.Duration) { <-time.After(d) }

// TestCrashFaults: at random, while eight devices publish.
func TestCrashFaults(t *testing.T) {
	p := newPlan(t)
	end := time.Now().Add(p.total)
	for round := 1; ; round++ {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) { faultRound(t, &p) })
		if t.Failed() || !time.Now().Before(end) {
			return
		}
	}
}

func faultRound(t *testing.T, p *plan) {
	r := newRig(t)
	w := publishers(r, p.rate, 120)
	names := make([]string, 0, len(faults))
	for name := range faults {
		names = append(names, name)
	}

	for _, name := range shuffled(p.rand, names) {
		t.Logf("%d acknowledged: %s", w.acked(), name)
		faults[name](r, p)
		before := w.acked()
		passes(p.upTo(p.pause))
		until(t, "publishing to go on after "+name, startTimeout, func() error {
			if w.acked() == before {
				return fmt.Errorf("still %d messages", before)
			}
			return nil
		})
	}
	r.check(w)
	r.edge.stop()
	r.cloud.stop()
}

// TestCrashBacklog kills a hub whose store is full of messages for a cloud that
// is out of reach.
func TestCrashBacklog(t *testing.T) {
	p := newPlan(t)
	r := newRig(t)
	r.proxy.Refuse(true)
	r.proxy.Cut()
	w := publishers(r, 1e6, 8<<10)
	until(t, "the backlog", drainTimeout, func() error {
		s, err := r.edgeAPI.Status(t.Context())
		if err == nil && s.Store.QueuedBytes < p.backlog {
			err = fmt.Errorf("%d of %d bytes", s.Store.QueuedBytes, p.backlog)
		}
		return err
	})
	r.edge.kill()
	began := time.Now()
	r.edge.start()
	t.Logf("%d messages waited, the hub was back after %v", w.acked(), time.Since(began).Round(time.Millisecond))
	w.finish(t)
	r.proxy.Refuse(false)
	r.check(w)
}

// shuffled sorts first: the order is the seed's, not that of a map.
func shuffled(r *rand.Rand, names []string) []string {
	slices.Sort(names)
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names
}
