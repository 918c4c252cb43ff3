package identity

import (
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	throttleSlots = 8192

	// One address may fail this often for one identity, and once more per interval.
	pairBurst    = 5
	pairInterval = 10 * time.Second
	// One address may fail this often over all identities. It is wider, because
	// many devices can sit behind one address and one of them be set up wrongly.
	addressBurst    = 50
	addressInterval = time.Second
)

// throttle counts failed logins. Its memory is fixed: keys share slots by a hash
// that is different in every process. Two keys in one slot share an allowance,
// which at worst makes somebody wait who comes from an address that fails, too.
type throttle struct {
	mu    sync.Mutex
	seed  maphash.Seed
	slots [throttleSlots]slot
}

// slot says when the failures counted so far will be forgiven.
type slot struct{ clear time.Time }

func newThrottle() *throttle { return &throttle{seed: maphash.MakeSeed()} }

// allow reports whether who at addr may try now.
func (t *throttle) allow(now time.Time, addr, who string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pair(addr, who).clear.Sub(now) <= (pairBurst-1)*pairInterval &&
		t.address(addr).clear.Sub(now) <= (addressBurst-1)*addressInterval
}

// failed counts one failure.
func (t *throttle) failed(now time.Time, addr, who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pair(addr, who).add(now, pairInterval)
	t.address(addr).add(now, addressInterval)
}

func (s *slot) add(now time.Time, d time.Duration) {
	if s.clear.Before(now) {
		s.clear = now
	}
	s.clear = s.clear.Add(d)
}

func (t *throttle) pair(addr, who string) *slot { return t.slot("p" + addr + "\x00" + who) }
func (t *throttle) address(addr string) *slot   { return t.slot("a" + addr) }

func (t *throttle) slot(key string) *slot {
	return &t.slots[maphash.String(t.seed, key)%throttleSlots]
}

// throttleAddress names what one party is likely to hold: an IPv4 address, or
// the /64 an IPv6 address is in.
func throttleAddress(a net.Addr) string {
	if a == nil {
		return ""
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.Network()
	}
	ip := ap.Addr().Unmap()
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}
