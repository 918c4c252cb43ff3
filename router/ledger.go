package router

import (
	"sync"
	"time"

	"github.com/penstock-io/penstock/store"
)

// Figures are the counts of one rule in one queue, of a queue, or of everything.
// They add up: accepted = delivered + queued + expired + dropped + buried.
type Figures struct {
	Accepted  uint64            `json:"accepted"`
	Delivered uint64            `json:"delivered"`
	Queued    uint64            `json:"queued"`
	Expired   uint64            `json:"expired"`
	Dropped   map[string]uint64 `json:"dropped"` // by reason
	Buried    uint64            `json:"buried"`
	Rate      float64           `json:"rate"` // accepted per second, over the last seconds
	Balanced  bool              `json:"balanced"`

	OldestAgeSeconds float64 `json:"oldest_age_seconds"` // of what is queued
}

// Entry is one rule's account in one queue.
type Entry struct {
	Rule  string `json:"rule"`
	Queue string `json:"queue"`
	Figures
}

// Ledger is the state of all accounts at one moment.
type Ledger struct {
	Entries []Entry `json:"entries"`
	Total   Figures `json:"total"`

	// Since the start of this process.
	Received   uint64 `json:"received"`   // messages that came in
	Unrouted   uint64 `json:"no_route"`   // acknowledged, nobody wanted them
	Duplicates uint64 `json:"duplicates"` // acknowledged, were here before
	Refused    uint64 `json:"refused"`    // not stored, not acknowledged
}

// Ledger returns the accounts, which the store keeps across restarts, with the
// rates since earlier calls.
func (r *Router) Ledger() Ledger {
	now := r.now()
	l := Ledger{
		Received: r.count.received.Load(), Unrouted: r.count.unrouted.Load(),
		Duplicates: r.count.duplicates.Load(), Refused: r.count.refused.Load(),
	}
	accounts := r.store.Ledger()
	l.Entries = make([]Entry, len(accounts))
	snap := snapshot{at: now, accepted: make(map[accountKey]uint64, len(accounts))}
	for i := range accounts {
		l.Entries[i] = entryOf(&accounts[i])
		snap.accepted[accountKey{accounts[i].Queue, accounts[i].Rule}] = accounts[i].Accepted
	}
	before := r.rates.since(snap)
	l.Total = Figures{Dropped: make(map[string]uint64), Balanced: true}
	for i := range l.Entries {
		e := &l.Entries[i]
		e.Rate = before.rate(accountKey{e.Queue, e.Rule}, e.Accepted, now)
		l.Total.add(&e.Figures)
	}
	return l
}

func entryOf(a *store.Account) Entry {
	e := Entry{Rule: a.Rule, Queue: a.Queue, Figures: Figures{
		Accepted: a.Accepted, Delivered: a.Delivered, Queued: a.Queued,
		Expired: a.Expired, Dropped: a.Dropped, Buried: a.Buried,
		OldestAgeSeconds: a.OldestAge.Seconds(), Balanced: a.Balanced(),
	}}
	if e.Dropped == nil {
		e.Dropped = make(map[string]uint64)
	}
	return e
}

func (f *Figures) add(g *Figures) {
	f.Accepted += g.Accepted
	f.Delivered += g.Delivered
	f.Queued += g.Queued
	f.Expired += g.Expired
	f.Buried += g.Buried
	for reason, n := range g.Dropped {
		f.Dropped[reason] += n
	}
	f.Rate += g.Rate
	f.OldestAgeSeconds = max(f.OldestAgeSeconds, g.OldestAgeSeconds)
	f.Balanced = f.Balanced && g.Balanced
}

type accountKey struct{ queue, rule string }

// rates remembers a few earlier readings, at least a second apart and together
// about ten seconds long.
type rates struct {
	mu    sync.Mutex
	snaps []snapshot
}

type snapshot struct {
	at       time.Time
	accepted map[accountKey]uint64
}

const (
	rateSpacing = time.Second
	rateSpan    = 10 * time.Second
)

// since keeps now and returns the reading to compare it with: the youngest that is
// ten seconds old, or else the oldest there is; the zero value if there is none.
func (r *rates) since(now snapshot) snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.snaps) > 1 && now.at.Sub(r.snaps[1].at) >= rateSpan {
		r.snaps = r.snaps[1:]
	}
	var before snapshot
	if len(r.snaps) > 0 {
		before = r.snaps[0]
	}
	if n := len(r.snaps); n == 0 || now.at.Sub(r.snaps[n-1].at) >= rateSpacing {
		r.snaps = append(r.snaps, now)
	}
	return before
}

func (s *snapshot) rate(k accountKey, accepted uint64, now time.Time) float64 {
	took := now.Sub(s.at).Seconds()
	if s.accepted == nil || took <= 0 || accepted < s.accepted[k] {
		return 0
	}
	return float64(accepted-s.accepted[k]) / took
}
