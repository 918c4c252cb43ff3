package identity

import (
	"crypto/x509"
	"fmt"
	"net"
	"time"
)

// Config is what a Guard is made from.
type Config struct {
	// Hosts are the names a SAS token's resource may begin with: the hub's and
	// the gateway's own. Empty: any.
	Hosts []string
	// Anonymous names the listeners where a client on this machine may come
	// without credentials.
	Anonymous []string
	Users     []User
	Rules     []Rule
	Roots     *x509.CertPool   // registered certificate authorities; nil: none
	Now       func() time.Time // nil: time.Now
}

// Guard decides who comes in and what they may do.
type Guard struct {
	dir       Directory
	hosts     []string
	anonymous map[string]bool
	users     map[string]*account
	rules     []Rule
	roots     *x509.CertPool
	now       func() time.Time

	passwords *passwords
	throttle  *throttle
}

// NewGuard returns a guard over dir, or says what is wrong with cfg.
func NewGuard(dir Directory, cfg Config) (*Guard, error) {
	g := &Guard{
		dir: dir, hosts: cfg.Hosts, rules: cfg.Rules, roots: cfg.Roots, now: cfg.Now,
		anonymous: map[string]bool{}, users: make(map[string]*account, len(cfg.Users)),
		passwords: newPasswords(), throttle: newThrottle(),
	}
	if g.now == nil {
		g.now = time.Now
	}
	for _, name := range cfg.Anonymous {
		g.anonymous[name] = true
	}
	for i := range cfg.Rules {
		if err := cfg.Rules[i].Validate(); err != nil {
			return nil, err
		}
	}
	for _, u := range cfg.Users {
		if _, twice := g.users[u.Name]; twice || u.Name == "" {
			return nil, fmt.Errorf("user %q is without a name or listed twice", u.Name)
		}
		h, err := parseHash(u.PasswordHash)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", u.Name, err)
		}
		g.users[u.Name] = &account{User: u, hash: h}
	}
	return g, nil
}

// Loopback reports whether a is an address of this machine's loopback interface,
// or a Unix socket.
func Loopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}
