package store

import (
	"errors"
	"os"
	"testing"
)

func TestRestoredStoreGetsANewEpoch(t *testing.T) {
	dir, backup := t.TempDir(), t.TempDir()
	s := openAt(t, Config{Dir: dir})
	add(t, s, item("a", to("q")), item("b", to("q")))
	old := s.Epoch()
	if err := RenewEpoch(dir); !errors.Is(err, ErrLocked) {
		t.Fatalf("while it is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := RenewEpoch(backup); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Config{Dir: backup})
	if s.Epoch() == old || s.Epoch() == "" {
		t.Fatalf("epoch %q after %q", s.Epoch(), old)
	}
	same(t, "what was in it", bodies(lease(t, queue(t, s, "q"), 9)), []string{"a", "b"})
	renewed := s.Epoch()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	same(t, "kept", openAt(t, Config{Dir: backup}).Epoch(), renewed)
	if err := RenewEpoch(t.TempDir()); !errors.Is(err, ErrFormat) {
		t.Fatalf("an empty directory: %v", err)
	}
}

// The power may fail after the marker was written, and after the database was.
func TestRenewingTheEpochIsFinishedByOpen(t *testing.T) {
	for _, written := range []bool{false, true} {
		dir := t.TempDir()
		s := openAt(t, Config{Dir: dir})
		add(t, s, item("a", to("q")))
		old := s.Epoch()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		begun := marker{epoch: old, state: stateReady, renew: "NEW"}
		if written {
			if err := RenewEpoch(dir); err != nil {
				t.Fatal(err)
			}
			m, err := readMarker(dir)
			if err != nil {
				t.Fatal(err)
			}
			begun.renew = m.epoch
		}
		if err := begun.write(dir); err != nil {
			t.Fatal(err)
		}
		s = openAt(t, Config{Dir: dir})
		same(t, "epoch", s.Epoch(), begun.renew)
		same(t, "what was in it", bodies(lease(t, queue(t, s, "q"), 2)), []string{"a"})
		m, err := readMarker(dir)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "marker", *m == marker{epoch: begun.renew, state: stateReady}, true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		foreign := marker{epoch: "A", state: stateReady, renew: "B"}
		if err := foreign.write(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrDamaged) {
			t.Fatalf("a marker of another store: %v", err)
		}
	}
}
