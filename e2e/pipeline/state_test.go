package pipeline

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/store"
)

// TestStateRefused: a store that is in use, of another version or damaged is
// refused in one sentence, and opens as it was once the cause is gone.
func TestStateRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{noCloud: true, rules: "rules:\n  - {name: up, from: devices/*, into: $upstream}\n"})
	publish(t, s.leaf(leafDevice, ""), telemetry("1", "{}"))
	s.refused(store.ErrLocked)
	s.stopEdge()

	marker := s.path("edge/store/FORMAT")
	good, err := os.ReadFile(marker)
	if err != nil {
		t.Fatal(err)
	}
	write(t, marker, strings.Replace(string(good), "version 1", "version 99", 1))
	s.refused(store.ErrFormat, "99")
	write(t, marker, "something else\n")
	s.refused(store.ErrFormat)
	write(t, marker, string(good))

	manifest := s.path("edge/store/badger/MANIFEST")
	if err := os.Rename(manifest, s.path("aside")); err != nil {
		t.Fatal(err)
	}
	s.refused(store.ErrDamaged)
	if err := os.Rename(s.path("aside"), manifest); err != nil {
		t.Fatal(err)
	}

	s.startEdge()
	if f := s.entry("up", "$upstream"); f.Queued != 1 {
		t.Errorf("the message is gone: %+v", f)
	}
}

func (s *site) refused(want error, says ...string) {
	s.t.Helper()
	h, err := s.openEdge()
	if err == nil {
		run(s.t, "edgehub", h)()
		s.t.Fatalf("the edge opened a store with: %v", want)
	}
	if !errors.Is(err, want) {
		s.t.Errorf("got %v, want %v", err, want)
	}
	oneSentence(s.t, err.Error(), says...)
}
