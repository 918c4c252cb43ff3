package registry

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// open starts a server in dir and two registries on it, as two hubs would.
func open(t *testing.T, dir string) (a, b *Registry, stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	srv, err := stream.StartServer(stream.ServerConfig{Dir: dir, Token: "t"}, log)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := stream.Connect("", srv.InProcess()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	s, err := stream.Open(ctx, nc, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	start := func() *Registry {
		r, err := Open(ctx, s.JetStream(), 1, log)
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- r.Run(ctx) }()
		return r
	}
	a, b = start(), start()
	return a, b, func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		nc.Close()
		srv.Shutdown()
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

const odd = "edge.*%=#1$'"

func TestDevicesAreKnownAfterRestartAndToOthers(t *testing.T) {
	dir := t.TempDir()
	a, b, stop := open(t, dir)
	want := identity.Device{
		ID: odd, Key: "a2V5", SecondaryKey: "a2V5Mg==", Thumbprints: []string{"ab"}, CA: true, Edge: true, Groups: []string{"g"},
		Modules: []identity.Module{{ID: "$edgeHub", Key: "a2V5"}},
	}
	if _, created, err := a.Put(t.Context(), want); err != nil || !created {
		t.Fatal(created, err)
	}
	if _, created, err := a.Put(t.Context(), identity.Device{ID: "leaf", Key: "a2V5", Parent: odd}); err != nil || !created {
		t.Fatal(created, err)
	}
	eventually(t, "the other registry knows the device", func() bool { _, ok := b.Device("leaf"); return ok })
	if err := b.Delete(t.Context(), "leaf"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion is seen", func() bool { _, ok := a.Device("leaf"); return !ok })
	if err := a.Delete(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	if _, created, err := a.Put(t.Context(), want); err != nil || !created {
		t.Fatal("a device deleted a moment ago cannot come back", err)
	}
	if _, created, err := a.Put(t.Context(), identity.Device{ID: "leaf", Key: "a2V5"}); err != nil || !created {
		t.Fatal("a deleted device cannot come back", err)
	}
	stop()
	a, _, stop = open(t, dir)
	defer stop()
	got, ok := a.Device(odd)
	if !ok {
		t.Fatal("not known after a restart")
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := a.Module(odd, "$edgeHub"); !ok {
		t.Error("the module is not known")
	}
	if all := a.List(); len(all) != 2 || all[0].ID != odd || all[1].Parent != "" {
		t.Errorf("list: %v", all)
	}
}

func TestConcurrentChangeIsAConflict(t *testing.T) {
	a, _, stop := open(t, t.TempDir())
	defer stop()
	if _, _, err := a.Put(t.Context(), identity.Device{ID: "d"}); err != nil {
		t.Fatal(err)
	}
	// b is a hub that the next change has not reached yet.
	b := &Registry{kv: a.kv, devices: map[string]entry{"d": a.lookup("d")}}
	if _, _, err := a.Put(t.Context(), identity.Device{ID: "d", Disabled: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Put(t.Context(), identity.Device{ID: "d"}); !errors.Is(err, ErrConflict) {
		t.Errorf("put: %v", err)
	}
	if err := b.Delete(t.Context(), "d"); !errors.Is(err, ErrConflict) {
		t.Errorf("delete: %v", err)
	}
}

func TestKeysAreMadeKeptAndReplaced(t *testing.T) {
	a, _, stop := open(t, t.TempDir())
	defer stop()
	first, _, err := a.Put(t.Context(), identity.Device{ID: "d", Modules: []identity.Module{{ID: "m"}}})
	if err != nil {
		t.Fatal(err)
	}
	if first.Key == "" || first.Key == first.SecondaryKey || first.Modules[0].Key == "" {
		t.Fatal("no keys were made")
	}
	second, created, err := a.Put(t.Context(), identity.Device{ID: "d", SecondaryKey: "bmV3", Modules: []identity.Module{{ID: "m"}}})
	if err != nil || created {
		t.Fatal(created, err)
	}
	if second.Key != first.Key || second.SecondaryKey != "bmV3" || second.Modules[0].Key != first.Modules[0].Key {
		t.Error("keys left out did not stay")
	}
	certified, _, err := a.Put(t.Context(), identity.Device{ID: "x", Thumbprints: []string{"ab"}})
	if err != nil || certified.Key != "" {
		t.Error("a device with a certificate was given a key", err)
	}
	if _, _, err := a.Put(t.Context(), identity.Device{ID: "no/slash"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("err = %v", err)
	}
	if err := a.Delete(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
		t.Errorf("err = %v", err)
	}
}

func TestSeedLeavesWhatIsKnown(t *testing.T) {
	a, _, stop := open(t, t.TempDir())
	defer stop()
	seeds := []identity.Device{{ID: "a", Key: "b25l"}, {ID: "b", Key: "b25l"}}
	if _, _, err := a.Put(t.Context(), identity.Device{ID: "a", Key: "dHdv"}); err != nil {
		t.Fatal(err)
	}
	if err := a.Seed(t.Context(), seeds); err != nil {
		t.Fatal(err)
	}
	if d, _ := a.Device("a"); d.Key != "dHdv" {
		t.Error("a seed replaced a known device")
	}
	if _, ok := a.Device("b"); !ok {
		t.Error("a seed was not registered")
	}
}
