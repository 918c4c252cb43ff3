// Package registry keeps the cloud's devices: their keys, certificates, status
// and place in the topology, in a JetStream KV bucket with an index in memory.
//
// It promises that a change is on disk before Put or Delete returns, that lookups
// never wait, and that changes made by another process are seen as they are
// stored. Of two writers that change one device at the same time one is told
// ErrConflict. It never logs a key. All methods are safe for concurrent use; one
// goroutine, Run, follows the bucket.
package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/identity"
)

// Bucket is the KV bucket's name.
const Bucket = "HUB_REGISTRY"

// keySize is what a generated key has, in bytes before base64.
const keySize = 32

var (
	// ErrNotFound: no device of that id is registered.
	ErrNotFound = errors.New("device is not registered")
	// ErrConflict: somebody else changed the device at the same time; read it and try again.
	ErrConflict = errors.New("device was changed by somebody else")
	// ErrInvalid: the device's description is wrong; the message says what.
	ErrInvalid = errors.New("invalid device")
)

// Registry implements identity.Directory.
type Registry struct {
	kv      jetstream.KeyValue
	watcher jetstream.KeyWatcher
	log     *slog.Logger

	mu      sync.RWMutex
	devices map[string]entry
}

type entry struct {
	device   *identity.Device // nil: deleted at this revision
	revision uint64
}

// Open creates the bucket if needed and reads it. Run or Close must follow.
func Open(ctx context.Context, js jetstream.JetStream, replicas int, log *slog.Logger) (*Registry, error) {
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: Bucket, Description: "devices known to cloudhub", History: 1,
		Storage: jetstream.FileStorage, Replicas: max(replicas, 1),
	})
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	// The watcher lives on after ctx, which bounds only the opening.
	w, err := kv.WatchAll(context.WithoutCancel(ctx))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r := &Registry{kv: kv, watcher: w, log: log, devices: map[string]entry{}}
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return nil, errors.New("open registry: its watcher ended")
			}
			if e == nil { // all there was has come
				return r, nil
			}
			r.follow(e)
		case <-ctx.Done():
			r.Close()
			return nil, fmt.Errorf("open registry: %w", ctx.Err())
		}
	}
}

// Run follows changes in the bucket until ctx ends, and closes the registry.
func (r *Registry) Run(ctx context.Context) error {
	defer r.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-r.watcher.Updates():
			if !ok {
				return errors.New("follow registry: its watcher ended")
			}
			if e != nil {
				r.follow(e)
			}
		}
	}
}

// Close stops following. Lookups answer what was known last.
func (r *Registry) Close() { _ = r.watcher.Stop() }

func (r *Registry) follow(e jetstream.KeyValueEntry) {
	if e.Operation() != jetstream.KeyValuePut {
		r.note(deviceID(e.Key()), nil, e.Revision())
		return
	}
	d, err := decode(e.Value())
	if err != nil {
		r.log.Warn("registry entry is not readable, device is not known", "device", deviceID(e.Key()), "err", err)
		return
	}
	r.note(d.ID, d, e.Revision())
}

// note takes a revision into the index unless a newer one is there.
func (r *Registry) note(id string, d *identity.Device, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.devices[id].revision < revision {
		r.devices[id] = entry{d, revision}
	}
}

func (r *Registry) lookup(id string) entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.devices[id]
}

// Device implements identity.Directory.
func (r *Registry) Device(id string) (*identity.Device, bool) {
	d := r.lookup(id).device
	return d, d != nil
}

// Module implements identity.Directory.
func (r *Registry) Module(device, id string) (*identity.Module, bool) {
	d, ok := r.Device(device)
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

// List returns all devices by id. They are read-only.
func (r *Registry) List() []*identity.Device {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*identity.Device, 0, len(r.devices))
	for _, e := range r.devices {
		if e.device != nil {
			all = append(all, e.device)
		}
	}
	slices.SortFunc(all, func(a, b *identity.Device) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Put registers d or replaces the device of its id, and returns it as stored.
// Keys that d leaves empty stay what they are; a new device or module without
// any credential is given a pair of keys. created tells a new device.
func (r *Registry) Put(ctx context.Context, d identity.Device) (stored *identity.Device, created bool, err error) {
	old := r.lookup(d.ID)
	inherit(&d, old.device)
	if err := d.Validate(); err != nil {
		return nil, false, fmt.Errorf("put device: %w: %w", ErrInvalid, err)
	}
	var revision uint64
	if old.device == nil {
		revision, err = r.kv.Create(ctx, deviceKey(d.ID), encode(&d))
	} else {
		revision, err = r.kv.Update(ctx, deviceKey(d.ID), encode(&d), old.revision)
	}
	if err != nil {
		return nil, false, fmt.Errorf("put device %s: %w", d.ID, conflict(err))
	}
	r.note(d.ID, &d, revision)
	return &d, old.device == nil, nil
}

// Delete forgets a device and its modules.
func (r *Registry) Delete(ctx context.Context, id string) error {
	old := r.lookup(id)
	if old.device == nil {
		return fmt.Errorf("delete device %s: %w", id, ErrNotFound)
	}
	if err := r.kv.Delete(ctx, deviceKey(id), jetstream.LastRevision(old.revision)); err != nil {
		return fmt.Errorf("delete device %s: %w", id, conflict(err))
	}
	// The marker's revision is not told; the next number serves, for any later
	// change of this device has a higher one.
	r.note(id, nil, old.revision+1)
	return nil
}

// Seed registers those of devices that are not known yet and leaves the others
// as they are: what an operator changed later is not undone by a restart.
func (r *Registry) Seed(ctx context.Context, devices []identity.Device) error {
	for _, d := range devices {
		if _, known := r.Device(d.ID); known {
			continue
		}
		if _, _, err := r.Put(ctx, d); err != nil {
			return fmt.Errorf("seed registry: %w", err)
		}
	}
	return nil
}

func conflict(err error) error {
	var api *jetstream.APIError
	if errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return ErrConflict
	}
	return err
}

// inherit fills d's missing credentials from what was registered, or with new keys.
func inherit(d, old *identity.Device) {
	d.Modules = slices.Clone(d.Modules)
	if old != nil {
		keep(&d.Key, old.Key)
		keep(&d.SecondaryKey, old.SecondaryKey)
	}
	if d.Key == "" && len(d.Thumbprints) == 0 && !d.CA {
		d.Key, d.SecondaryKey = newKey(), newKey()
	}
	for i := range d.Modules {
		m := &d.Modules[i]
		if old != nil {
			for _, o := range old.Modules {
				if o.ID == m.ID {
					keep(&m.Key, o.Key)
					keep(&m.SecondaryKey, o.SecondaryKey)
				}
			}
		}
		if m.Key == "" && len(m.Thumbprints) == 0 {
			m.Key, m.SecondaryKey = newKey(), newKey()
		}
	}
}

func keep(k *identity.Secret, old identity.Secret) {
	if *k == "" {
		*k = old
	}
}

func newKey() identity.Secret {
	b := make([]byte, keySize)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return identity.Secret(base64.StdEncoding.EncodeToString(b))
}

// deviceKey is the id as a KV key, where '%' is not allowed: =XX stands for
// every byte outside A–Z, a–z, 0–9, '-' and '_'.
func deviceKey(id string) string { return strings.ReplaceAll(stream.Token(id), "%", "=") }

// deviceID is the inverse of deviceKey for keys this package made.
func deviceID(key string) string {
	id, err := stream.ParseToken(strings.ReplaceAll(key, "=", "%"))
	if err != nil {
		return key
	}
	return id
}

// record is a device as the bucket holds it, keys included.
type record struct {
	ID           string   `json:"id"`
	Key          string   `json:"key,omitempty"`
	SecondaryKey string   `json:"secondary_key,omitempty"`
	Thumbprints  []string `json:"thumbprints,omitempty"`
	CA           bool     `json:"ca,omitempty"`
	Edge         bool     `json:"edge,omitempty"`
	Parent       string   `json:"parent,omitempty"`
	Disabled     bool     `json:"disabled,omitempty"`
	Groups       []string `json:"groups,omitempty"`
	Modules      []record `json:"modules,omitempty"` // id, keys and thumbprints only
}

func encode(d *identity.Device) []byte {
	r := record{
		ID: d.ID, Key: d.Key.Reveal(), SecondaryKey: d.SecondaryKey.Reveal(), Thumbprints: d.Thumbprints,
		CA: d.CA, Edge: d.Edge, Parent: d.Parent, Disabled: d.Disabled, Groups: d.Groups,
	}
	for _, m := range d.Modules {
		r.Modules = append(r.Modules, record{ID: m.ID, Key: m.Key.Reveal(), SecondaryKey: m.SecondaryKey.Reveal(), Thumbprints: m.Thumbprints})
	}
	b, _ := json.Marshal(r) // strings and booleans always marshal
	return b
}

func decode(b []byte) (*identity.Device, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("decode device: %w", err)
	}
	d := &identity.Device{
		ID: r.ID, Key: identity.Secret(r.Key), SecondaryKey: identity.Secret(r.SecondaryKey), Thumbprints: r.Thumbprints,
		CA: r.CA, Edge: r.Edge, Parent: r.Parent, Disabled: r.Disabled, Groups: r.Groups,
	}
	for _, m := range r.Modules {
		d.Modules = append(d.Modules, identity.Module{ID: m.ID, Key: identity.Secret(m.Key), SecondaryKey: identity.Secret(m.SecondaryKey), Thumbprints: m.Thumbprints})
	}
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("decode device: %w", err)
	}
	return d, nil
}
