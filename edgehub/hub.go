// Package edgehub assembles a device: store, rules, router, broker, uplink and
// the local API, each wired to the next in New and started in Run.
//
// A Hub promises what its parts promise together: a message that was
// acknowledged is in the store, in every queue its rules name, until it has been
// delivered or is counted as expired, dropped or buried. It needs no cloud to
// start and none to go on.
package edgehub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/configs"
	"github.com/penstock-io/penstock/edgehub/uplink"
	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/router"
	"github.com/penstock-io/penstock/rules"
	"github.com/penstock-io/penstock/store"
)

// Hub is one device's hub. Create it with New, serve with Run.
type Hub struct {
	cfg     *configs.EdgeHub
	log     *slog.Logger
	started time.Time

	store  *store.Store
	router *router.Router
	broker *broker.Broker
	uplink *uplink.Uplink // nil without a parent
	rules  *ruleFiles
	api    *api
}

// New opens the store, loads the rules and binds every listener; what cannot
// work fails here, with nothing started. A rule file that does not compile does
// not stop the hub: it starts with the rules that were last good and says so.
func New(cfg *configs.EdgeHub, log *slog.Logger) (*Hub, error) {
	h := &Hub{cfg: cfg, log: log, started: time.Now()}
	if err := h.open(); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *Hub) open() (err error) {
	if err := os.MkdirAll(h.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if h.store, err = store.Open(storeConfig(h.cfg, h.log)); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if err := h.openUplink(); err != nil {
		return fmt.Errorf("uplink: %w", err)
	}
	if h.router, err = router.New(routerConfig(h.cfg, h.log), h.store, h.sink); err != nil {
		return fmt.Errorf("router: %w", err)
	}
	h.rules = newRuleFiles(h.cfg, h.store, h.router, h.log)
	if err := h.rules.start(); err != nil {
		return err
	}
	if h.api, err = newAPI(h); err != nil {
		return err
	}
	return h.openBroker()
}

func (h *Hub) openBroker() error {
	dir, err := identity.NewStatic(h.cfg.Auth.Devices)
	if err != nil {
		return fmt.Errorf("auth.devices: %w", err)
	}
	guard, err := identity.NewGuard(dir, identity.Config{
		Hosts:     append([]string{h.cfg.HubHost}, h.cfg.Auth.Hosts...),
		Anonymous: configs.Anonymous(h.cfg.Listeners), Users: h.cfg.Auth.Users, Rules: h.cfg.Auth.ACL,
	})
	if err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	bc, err := broker.FromConfig(h.cfg.Broker, h.cfg.Listeners)
	if err != nil {
		return err
	}
	bc.Subscribed = h.clientSubscribed
	h.broker, err = broker.New(bc, broker.Deps{
		Acceptor: h.router, Guard: guard, Queues: sessionQueues{h.store}, Records: h.store, Log: h.log,
	})
	return err
}

func (h *Hub) openUplink() error {
	u := h.cfg.Uplink
	if len(u.Addresses) == 0 {
		return nil
	}
	key, err := configs.ReadSecret(h.cfg.Device.Key, h.cfg.Device.KeyFile)
	if err != nil {
		return err
	}
	q, err := h.store.Queue(rules.Upstream)
	if err != nil {
		return err
	}
	h.uplink, err = uplink.New(uplink.Config{
		Addresses: u.Addresses, Host: h.cfg.HubHost, Device: h.cfg.Device.ID, Key: key,
		TokenLife: time.Duration(u.TokenTTL), TLS: uplink.TLS{CAFile: u.CAFile},
		Epoch: h.store.Epoch(), Floor: q.Floor, Window: u.Window,
		MessagesPerSecond: float64(u.Rate.MessagesPerSecond), BytesPerSecond: float64(u.Rate.BytesPerSecond),
		ConnectTimeout: time.Duration(u.ConnectTimeout), KeepAlive: time.Duration(u.KeepAlive),
	}, h.log)
	return err
}

// Run serves until ctx ends or a part fails. Parts start inside out, so that
// nobody is let in before what they need is there, and stop outside in: first
// no new messages, then no deliveries, last the store.
func (h *Hub) Run(ctx context.Context) error {
	defer h.close()
	outer, stopOuter := context.WithCancel(ctx)
	defer stopOuter()
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInner()

	var within errgroup.Group // router and uplink
	within.Go(func() error { defer stopOuter(); return h.router.Run(inner) })
	if h.uplink != nil {
		within.Go(func() error { defer stopOuter(); return h.uplink.Run(inner) })
		within.Go(func() error { h.wakeUpstream(inner); return nil })
	}
	var without errgroup.Group // broker, API, rule files
	without.Go(func() error { defer stopOuter(); return h.broker.Run(outer) })
	without.Go(func() error { defer stopOuter(); return h.api.run(outer) })
	without.Go(func() error { defer stopOuter(); return h.rules.run(outer) })
	without.Go(func() error { defer stopOuter(); return h.watchStore(outer) })

	h.log.Info("edgehub is ready", "device", h.cfg.Device.ID, "took", time.Since(h.started).Round(time.Millisecond))
	err := without.Wait()
	stopInner()
	return errors.Join(err, within.Wait())
}

func (h *Hub) close() {
	if h.api != nil {
		h.api.close()
	}
	if h.store == nil {
		return
	}
	if err := h.store.Close(); err != nil {
		h.log.Error("close store", "err", err)
	}
	h.store = nil
}

// Addr returns the address of a listener, "" if there is none of that name.
func (h *Hub) Addr(listener string) string {
	if a := h.broker.Addr(listener); a != nil {
		return a.String()
	}
	return ""
}

// clientSubscribed wakes the queues of a module that has come to read its inputs.
func (h *Hub) clientSubscribed(clientID string) {
	if m, ok := h.ownModule(clientID); ok {
		for _, q := range h.store.Queues() {
			if to, err := rules.ParseQueue(q); err == nil && to.Kind == rules.SinkModule && to.Module == m {
				h.router.Wake(q)
			}
		}
	}
}

// watchStore ends the hub when the store cannot write any more: a supervisor
// that starts it again finds out what is on disk; going on could only refuse.
func (h *Hub) watchStore(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-h.store.Failed():
		return fmt.Errorf("the store failed, start the hub again to recover: %w", h.store.Err())
	}
}

// wakeUpstream ends the pause of the upstream queue's pump whenever the uplink is back.
func (h *Hub) wakeUpstream(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.uplink.Available():
			h.router.Wake(rules.Upstream)
		}
		if !h.uplinkLost(ctx) {
			return
		}
	}
}

// uplinkLost waits until the uplink is not available; false: ctx has ended.
func (h *Hub) uplinkLost(ctx context.Context) bool {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-h.uplink.Available():
		default:
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// RenewEpoch prepares a state folder that was restored from a backup: its store
// would give sequences again that the parent has under the same epoch.
func RenewEpoch(cfg *configs.EdgeHub) error { return store.RenewEpoch(storeDir(cfg)) }

func storeDir(cfg *configs.EdgeHub) string { return filepath.Join(cfg.StateDir, "store") }

func storeConfig(cfg *configs.EdgeHub, log *slog.Logger) store.Config {
	return store.Config{
		Dir: storeDir(cfg), MaxBytes: int64(cfg.Store.MaxBytes), Limit: queueLimit(cfg.Store),
		ReserveBytes: int64(cfg.Store.ReserveBytes), DeadBytes: int64(cfg.Store.DeadLetterBytes), Log: log,
	}
}

// queueLimit bounds queues as the configuration says. A session that is away
// has a bound of its own and gives up its oldest: a subscriber that does not come
// back must not fill the store for everybody else.
func queueLimit(c configs.Store) func(queue string) (int64, store.Policy) {
	policy := store.Reject
	if c.OnFull == "drop_oldest" {
		policy = store.DropOldest
	}
	return func(queue string) (int64, store.Policy) {
		if strings.HasPrefix(queue, router.SessionPrefix) {
			return int64(c.SessionMaxBytes), store.DropOldest
		}
		return int64(c.QueueMaxBytes), policy
	}
}

func routerConfig(cfg *configs.EdgeHub, log *slog.Logger) router.Config {
	return router.Config{RepeatWindow: time.Duration(cfg.Router.DedupeWindow), Refusal: refusal, Log: log}
}
