package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/penstock-io/penstock/iothub"
)

// Directory knows the registered identities. Lookups must be quick and must not
// wait: they are made while a client connects and while an edge device publishes
// for its children. What it returns is read-only.
type Directory interface {
	Device(id string) (*Device, bool)
	Module(device, id string) (*Module, bool)
}

// Static is a Directory in memory.
type Static struct {
	mu      sync.RWMutex
	devices map[string]*Device
}

// NewStatic returns a directory of devices, or says which one is wrong.
func NewStatic(devices []Device) (*Static, error) {
	s := &Static{devices: make(map[string]*Device, len(devices))}
	for i := range devices {
		if _, twice := s.devices[devices[i].ID]; twice {
			return nil, fmt.Errorf("device %s is listed twice", devices[i].ID)
		}
		if err := s.Put(devices[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Put adds a device, or replaces the one of the same id.
func (s *Static) Put(d Device) error {
	if err := d.Validate(); err != nil {
		return err
	}
	d.Modules = slices.Clone(d.Modules)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[d.ID] = &d
	return nil
}

// Remove forgets a device and its modules.
func (s *Static) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.devices, id)
}

// Device implements Directory.
func (s *Static) Device(id string) (*Device, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, ok := s.devices[id]
	return d, ok
}

// Module implements Directory.
func (s *Static) Module(device, id string) (*Module, bool) {
	d, ok := s.Device(device)
	if !ok {
		return nil, false
	}
	for i := range d.Modules {
		if d.Modules[i].ID == id {
			return &d.Modules[i], true
		}
	}
	return nil, false
}

// Validate explains what is wrong with the device.
func (d *Device) Validate() error {
	if !iothub.ValidID(d.ID) {
		return fmt.Errorf("device id %q, want 1 to %d letters, digits or - . + %% _ # * ? ! ( ) , : = @ $ '", d.ID, iothub.MaxID)
	}
	if d.Parent == d.ID {
		return fmt.Errorf("device %s is its own parent", d.ID)
	}
	keys := []Secret{d.Key, d.SecondaryKey}
	for _, m := range d.Modules {
		if !iothub.ValidID(m.ID) {
			return fmt.Errorf("device %s: module id %q", d.ID, m.ID)
		}
		keys = append(keys, m.Key, m.SecondaryKey)
	}
	for _, k := range keys {
		if _, err := base64.StdEncoding.DecodeString(k.Reveal()); err != nil {
			return fmt.Errorf("device %s: a key is not base64", d.ID)
		}
	}
	return nil
}

// Validate explains what is wrong with the user.
func (u *User) Validate() error {
	if u.Name == "" {
		return errors.New("user without a name")
	}
	if _, err := parseHash(u.PasswordHash); err != nil {
		return fmt.Errorf("user %s: %w", u.Name, err)
	}
	return nil
}
