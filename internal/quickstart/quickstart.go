// Package quickstart runs a whole pipeline on one machine to look at: a cloudhub
// and an edgehub as processes of their own, a simulated machine that publishes, a
// filter module, sample rules, and the ledger of it all. It keeps its state in one
// folder and resumes from it.
package quickstart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	edge "github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/internal/reconcile"
)

// Options of a quickstart.
type Options struct {
	State     string
	Addresses Addresses
	Rate      float64  // readings per second
	Exe       []string // the program that has the edgehub and cloudhub commands; default: this one
}

// Summary is the balance of everything since the state folder was made.
type Summary struct {
	Accepted  uint64 `json:"accepted"`
	Delivered uint64 `json:"delivered"`
	Queued    uint64 `json:"queued"`
	Expired   uint64 `json:"expired"`
	Dropped   uint64 `json:"dropped"`
	Buried    uint64 `json:"buried"`
	Balanced  bool   `json:"balanced"` // the edge's accounts, and edge against cloud

	CloudReceived   uint64 `json:"cloud_received"`
	CloudDuplicates uint64 `json:"cloud_duplicates"`

	Rules    []edge.Entry      `json:"rules"`
	Upstream *reconcile.Report `json:"upstream,omitempty"`
	Seconds  float64           `json:"seconds"`
}

// Pipeline is a running quickstart. Its methods may be called concurrently.
type Pipeline struct {
	o       Options
	keys    keys
	cloudP  *child
	edgeP   *child
	cloud   *cloud.Client
	edge    *edge.Client
	machine *leaf.Client
	filter  *leaf.Client
	started time.Time

	stopMachine context.CancelFunc
	work        sync.WaitGroup
	restarting  sync.Mutex
}

const startTimeout = 30 * time.Second

// Start brings everything up in order: cloud, registration, edge, module, machine.
func Start(ctx context.Context, o Options) (*Pipeline, error) {
	k, err := prepare(o.State, &o.Addresses)
	if err != nil {
		return nil, err
	}
	if len(o.Exe) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Exe = []string{self}
	}
	p := &Pipeline{
		o: o, keys: k, started: time.Now(), edge: edge.New(EdgeSocket(o.State)),
		cloudP: &child{name: "cloudhub", exe: o.Exe, dir: filepath.Join(o.State, "cloud")},
		edgeP:  &child{name: "edgehub", exe: o.Exe, dir: filepath.Join(o.State, "edge")},
	}
	if err := p.start(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Pipeline) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.startCloud(ctx); err != nil {
		return err
	}
	if err := p.startEdge(ctx, os.O_TRUNC); err != nil {
		return err
	}
	return p.startClients(ctx)
}

func (p *Pipeline) startCloud(ctx context.Context) error {
	if err := p.cloudP.start(os.O_TRUNC); err != nil {
		return err
	}
	err := p.until(ctx, p.cloudP, func() error {
		token, err := os.ReadFile(filepath.Join(CloudState(p.o.State), "api.token"))
		if err != nil {
			return err
		}
		p.cloud = cloud.New("http://"+p.o.Addresses.API, strings.TrimSpace(string(token)))
		s, err := p.cloud.Status(ctx)
		if err == nil && !s.Ready {
			err = errors.New("not ready")
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.register(ctx)
}

// register makes the edge device and the leaf devices behind it known to the cloud.
func (p *Pipeline) register(ctx context.Context) error {
	for _, d := range []cloud.Device{
		{ID: edgeDevice, Key: p.keys.edge, Edge: true},
		{ID: machine, Key: p.keys.machine, Parent: edgeDevice},
		{ID: spare, Key: p.keys.spare, Parent: edgeDevice},
	} {
		if _, err := p.cloud.PutDevice(ctx, d); err != nil {
			return fmt.Errorf("register %s: %w", d.ID, err)
		}
	}
	return nil
}

func (p *Pipeline) startEdge(ctx context.Context, log int) error {
	if err := p.edgeP.start(log); err != nil {
		return err
	}
	return p.until(ctx, p.edgeP, func() error { _, err := p.edge.Status(ctx); return err })
}

// until tries f until it succeeds, the process ends or ctx does.
func (p *Pipeline) until(ctx context.Context, c *child, f func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if gone := c.ended(); gone != nil {
			return gone
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not come up: %w (%w)", c.name, err, ctx.Err())
		case <-tick.C:
		}
	}
}

func (p *Pipeline) startClients(ctx context.Context) (err error) {
	if p.filter, err = p.client(edgeDevice, filter, p.keys.filter); err != nil {
		return err
	}
	if p.machine, err = p.client(machine, "", p.keys.machine); err != nil {
		return err
	}
	if err := p.filter.Connect(ctx); err != nil {
		return fmt.Errorf("module %s: %w", filter, err)
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stopMachine = stop
	if err := runFilter(ctx, p.filter); err != nil {
		return err
	}
	if err := p.machine.Connect(ctx); err != nil {
		return fmt.Errorf("machine %s: %w", machine, err)
	}
	p.work.Go(func() { simulate(work, p.machine, p.o.Rate) })
	return nil
}

// ToggleUplink cuts the edge off from the cloud, or lets it connect again.
func (p *Pipeline) ToggleUplink(ctx context.Context) error {
	s, err := p.edge.Status(ctx)
	if err != nil {
		return err
	}
	if s.Uplink != nil && s.Uplink.State == "cut" {
		return p.edge.RestoreUplink(ctx)
	}
	return p.edge.CutUplink(ctx)
}

// KillEdge ends the edgehub like a power cut and starts it again.
func (p *Pipeline) KillEdge(ctx context.Context) error {
	p.restarting.Lock()
	defer p.restarting.Unlock()
	p.edgeP.kill()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return p.startEdge(ctx, os.O_APPEND)
}

// Check returns why a hub is gone that should be running.
func (p *Pipeline) Check() error {
	if !p.restarting.TryLock() {
		return nil
	}
	defer p.restarting.Unlock()
	return errors.Join(p.cloudP.ended(), p.edgeP.ended())
}

// Summary reads the balance as it is now.
func (p *Pipeline) Summary(ctx context.Context) (s Summary, err error) {
	l, err := p.edge.Ledger(ctx)
	if err != nil {
		return s, err
	}
	up, err := reconcile.Fetch(ctx, p.edge, p.cloud)
	if err != nil {
		return s, err
	}
	t := &l.Total
	return Summary{
		Accepted: t.Accepted, Delivered: t.Delivered, Queued: t.Queued, Expired: t.Expired,
		Dropped: t.DroppedTotal(), Buried: t.Buried, Balanced: t.Balanced && up.Balanced,
		CloudReceived: up.InCloud, CloudDuplicates: up.Duplicates,
		Rules: l.Entries, Upstream: &up, Seconds: time.Since(p.started).Seconds(),
	}, nil
}

// Status is what the edgehub says of itself.
func (p *Pipeline) Status(ctx context.Context) (edge.Status, error) { return p.edge.Status(ctx) }

// Finish stops the machine and gives what is queued a while to arrive.
func (p *Pipeline) Finish(ctx context.Context, patience time.Duration) (Summary, error) {
	p.stopMachine()
	p.work.Wait()
	ctx, cancel := context.WithTimeout(ctx, patience+10*time.Second)
	defer cancel()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var before uint64
	for {
		s, err := p.Summary(ctx)
		still := s.Accepted == before // a module may still be answering what it was given
		if err != nil || s.Queued == 0 && still || time.Now().After(deadline) {
			return s, err
		}
		before = s.Accepted
		if st, err := p.edge.Status(ctx); err == nil && st.Uplink != nil && st.Uplink.State == "cut" {
			return s, nil // what waits for a cut uplink waits for good
		}
		<-tick.C
	}
}

// Close stops everything in reverse order.
func (p *Pipeline) Close() {
	if p.stopMachine != nil {
		p.stopMachine()
	}
	p.work.Wait()
	for _, c := range []*leaf.Client{p.machine, p.filter} {
		if c != nil {
			c.Close()
		}
	}
	p.edgeP.stop(syscall.SIGTERM, 15*time.Second)
	p.cloudP.stop(syscall.SIGTERM, 15*time.Second)
}
