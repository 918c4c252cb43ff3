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
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/penstock-io/penstock/identity"
)

// Bucket is the KV bucket's name.
const Bucket = "HUB_REGISTRY"

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
	barred  func(id string) // of a device that may not be connected any more; nil: nobody asks
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
	newer := r.devices[id].revision < revision
	if newer {
		r.devices[id] = entry{d, revision}
	}
	barred := r.barred
	r.mu.Unlock()
	if newer && barred != nil && (d == nil || d.Disabled) {
		barred(id)
	}
}

// OnBarred has f called, from any goroutine, when a device was disabled or
// deleted. f must not block.
func (r *Registry) OnBarred(f func(id string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.barred = f
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
