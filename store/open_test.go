package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Config{Dir: dir})
	add(t, s, item("precious", to("q")))
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	marker := filepath.Join(dir, markerFile)
	good, err := os.ReadFile(marker)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, want error) {
		t.Helper()
		s, err := Open(Config{Dir: dir, ReserveBytes: 1})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, want) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(marker, strings.Replace(string(good), "version 1", "version 2", 1))
	refuse("version", ErrFormat)
	write(marker, "something else\n")
	refuse("magic", ErrFormat)
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	refuse("no marker", ErrFormat)
	write(marker, strings.Replace(string(good), "epoch ", "epoch X", 1))
	refuse("another store's marker", ErrDamaged)
	write(marker, string(good))

	manifest := filepath.Join(dir, dataDir, "MANIFEST")
	kept, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	refuse("no manifest", ErrDamaged)
	write(manifest, "garbage")
	refuse("bad manifest", ErrDamaged)
	write(manifest, string(kept))

	tables, err := filepath.Glob(filepath.Join(dir, dataDir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal("no table to damage", err)
	}
	table, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 3, len(table) / 2, len(table) - 1} {
		write(tables[0], string(table[:n]))
		refuse(fmt.Sprint("a table cut to ", n), ErrDamaged)
	}
	for n := 0; n < len(table); n += 1 + len(table)/64 {
		flipped := bytes.Clone(table)
		flipped[n] ^= 0x10
		write(tables[0], string(flipped))
		refuse(fmt.Sprint("a table with byte ", n, " flipped"), ErrDamaged)
	}
	write(tables[0], string(table))
	write(filepath.Join(dir, dataDir, "000999.sst"), "what a kill -9 left of a table that nobody knows yet")

	s = openAt(t, Config{Dir: dir})
	same(t, "still there", bodies(lease(t, queue(t, s, "q"), 2)), []string{"precious"})
}
