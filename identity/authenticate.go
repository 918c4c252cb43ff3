package identity

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/penstock-io/penstock/iothub"
)

// Authenticate finds out who a client is. A client whose user name has the form
// {host}/{device}[/{module}]/?api-version=… is a device or module and proves it
// with a SAS token or, without a password, with its certificate. Any other user
// name goes with a password; with a certificate and no password it is a device id,
// or may be missing if the certificate's common name is one.
//
// Errors wrap one of the sentinels of errors.go. Password hashing may take a
// tenth of a second; nothing else waits.
func (g *Guard) Authenticate(c *Connect) (*Principal, error) {
	if c.Username == "" && len(c.Password) == 0 && len(c.Certificates) == 0 {
		return g.admitAnonymous(c)
	}
	now, addr, who := g.now(), throttleAddress(c.Remote), claimed(c)
	if !g.throttle.allow(now, addr, who) {
		return nil, fmt.Errorf("authenticate %q: %w", who, ErrThrottled)
	}
	p, groups, err := g.identify(c)
	if err != nil {
		if !errors.Is(err, ErrNotAllowed) {
			g.throttle.failed(now, addr, who)
		}
		return nil, fmt.Errorf("authenticate %q: %w", who, err)
	}
	p.ClientID = c.ClientID
	p.own()
	p.grants = grantsFor(g.rules, p, groups)
	return p, nil
}

// claimed is the identity a client claims, short enough for a log.
func claimed(c *Connect) string {
	who := c.Username
	if u, err := iothub.ParseUsername(c.Username); err == nil {
		who = (&Principal{Device: u.Device, Module: u.Module}).Name()
	} else if who == "" && len(c.Certificates) > 0 {
		who = c.Certificates[0].Subject.CommonName
	}
	if len(who) > 2*iothub.MaxID {
		who = who[:2*iothub.MaxID]
	}
	return who
}

func (g *Guard) admitAnonymous(c *Connect) (*Principal, error) {
	if !g.anonymous[c.Listener] {
		return nil, fmt.Errorf("%w: no user name, and listener %q does not allow anonymous clients", ErrNotAllowed, c.Listener)
	}
	if !c.Loopback {
		return nil, fmt.Errorf("%w: anonymous clients are allowed from this machine only", ErrNotAllowed)
	}
	p := &Principal{Method: MethodAnonymous, ClientID: c.ClientID}
	p.grants = grantsFor(g.rules, p, nil)
	return p, nil
}

func (g *Guard) identify(c *Connect) (*Principal, []string, error) {
	u, err := iothub.ParseUsername(c.Username)
	switch {
	case err == nil:
		return g.identifyDevice(c, u)
	case len(c.Password) > 0 || len(c.Certificates) == 0:
		return g.identifyUser(c)
	}
	id := c.Username
	if id == "" {
		id = c.Certificates[0].Subject.CommonName
	}
	d, err := g.device(id)
	if err != nil {
		return nil, nil, err
	}
	until, err := g.checkCertificate(c, d.Thumbprints, d.CA, d.ID)
	if err != nil {
		return nil, nil, err
	}
	return &Principal{Device: d.ID, Method: MethodX509, Expires: until, Edge: d.Edge}, d.Groups, nil
}

func (g *Guard) identifyUser(c *Connect) (*Principal, []string, error) {
	a := g.users[c.Username]
	if !g.passwords.check(a, c.Password) {
		return nil, nil, fmt.Errorf("%w: user name or password", ErrBadCredentials)
	}
	p := &Principal{User: a.Name, Device: a.Device, Method: MethodPassword}
	if a.Device != "" {
		d, err := g.device(a.Device)
		if err != nil {
			return nil, nil, err
		}
		p.Edge = d.Edge
	}
	return p, a.Groups, nil
}

func (g *Guard) device(id string) (*Device, error) {
	d, ok := g.dir.Device(id)
	if !ok {
		return nil, fmt.Errorf("%w: %s is not registered", ErrUnknownDevice, id)
	}
	if d.Disabled {
		return nil, fmt.Errorf("%w: %s", ErrDisabled, id)
	}
	return d, nil
}

func (g *Guard) identifyDevice(c *Connect, u iothub.Username) (*Principal, []string, error) {
	p := &Principal{Device: u.Device, Module: u.Module, Dialect: true}
	if c.ClientID != p.Name() {
		return nil, nil, fmt.Errorf("%w: client id is not %s, as the user name says", ErrBadCredentials, p.Name())
	}
	d, err := g.device(u.Device)
	if err != nil {
		return nil, nil, err
	}
	m, err := g.module(d, u.Module)
	if err != nil {
		return nil, nil, err
	}
	p.Edge = d.Edge && (u.Module == "" || u.Module == HubModule)
	if len(c.Password) > 0 {
		p.Method = MethodSAS
		p.Expires, err = g.checkToken(string(c.Password), p, d, m)
		return p, d.Groups, err
	}
	if len(c.Certificates) == 0 {
		return nil, nil, fmt.Errorf("%w: neither a SAS token nor a certificate", ErrBadCredentials)
	}
	p.Method = MethodX509
	if m != nil {
		p.Expires, err = g.checkCertificate(c, m.Thumbprints, false, p.Name())
	} else {
		p.Expires, err = g.checkCertificate(c, d.Thumbprints, d.CA, d.ID)
	}
	return p, d.Groups, err
}

// System modules of an edge device. They exist without being registered.
const (
	HubModule   = "$edgeHub"
	AgentModule = "$edgeAgent"
)

// module looks a module up; it is nil for a device.
func (g *Guard) module(d *Device, id string) (*Module, error) {
	if id == "" {
		return nil, nil
	}
	if m, ok := g.dir.Module(d.ID, id); ok {
		return m, nil
	}
	if d.Edge && (id == HubModule || id == AgentModule) {
		return &Module{ID: id}, nil
	}
	return nil, fmt.Errorf("%w: module %s of %s is not registered", ErrUnknownDevice, id, d.ID)
}

// checkToken verifies a SAS token (contract 2.2) and returns its end: signed with
// one of the identity's keys or its device's, for the identity's own resource.
func (g *Guard) checkToken(password string, p *Principal, d *Device, m *Module) (time.Time, error) {
	t, err := ParseSAS(password)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrBadCredentials, err)
	}
	if t.Policy != "" {
		return time.Time{}, fmt.Errorf("%w: token is of a shared access policy, want one of the device's key", ErrBadCredentials)
	}
	if !g.isResource(t.Resource, p) {
		return time.Time{}, fmt.Errorf("%w: token is for another resource than %s", ErrBadCredentials, Resource("{host}", p.Device, p.Module))
	}
	keys := []Secret{d.Key, d.SecondaryKey}
	if m != nil {
		keys = append([]Secret{m.Key, m.SecondaryKey}, keys...)
	}
	for _, k := range keys {
		if !t.SignedBy(k) {
			continue
		}
		if !g.now().Before(t.Expires) {
			return time.Time{}, fmt.Errorf("%w: token ended %s", ErrExpired, t.Expires.UTC().Format(time.RFC3339))
		}
		return t.Expires, nil
	}
	return time.Time{}, fmt.Errorf("%w: token is not signed with a key of %s", ErrBadCredentials, p.Name())
}

// isResource compares without case, as the vendor's hub does. SDKs that escape an
// id before they escape the resource leave it escaped here.
func (g *Guard) isResource(resource string, p *Principal) bool {
	host, path, _ := strings.Cut(resource, "/")
	want := strings.TrimPrefix(Resource("", p.Device, p.Module), "/")
	if !strings.EqualFold(path, want) {
		if once, err := url.PathUnescape(path); err != nil || !strings.EqualFold(once, want) {
			return false
		}
	}
	for _, h := range g.hosts {
		if strings.EqualFold(host, h) {
			return true
		}
	}
	return len(g.hosts) == 0
}
