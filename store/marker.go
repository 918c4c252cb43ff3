package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	formatVersion = 1
	markerFile    = "FORMAT"
	dataDir       = "badger"
	lockFile      = "LOCK"
	magic         = "penstock-store"

	stateNew   = "new"   // being created: holds nothing yet
	stateReady = "ready" // complete: a missing file is damage
)

// marker is the FORMAT file: it says, before any database file is touched, what
// the directory holds.
type marker struct {
	epoch string
	state string
	renew string // the epoch that is about to replace epoch; "": none
}

func (m *marker) write(dir string) error {
	text := fmt.Sprintf("%s\nversion %d\nepoch %s\nstate %s\n", magic, formatVersion, m.epoch, m.state)
	if m.renew != "" {
		text += fmt.Sprintf("renew %s\n", m.renew)
	}
	tmp := filepath.Join(dir, markerFile+".tmp")
	if err := writeSynced(tmp, text); err != nil {
		return fmt.Errorf("write format file: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, markerFile)); err != nil {
		return fmt.Errorf("write format file: %w", err)
	}
	return syncDir(dir)
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readMarker returns nil for a directory in which a store may be created. A
// store whose creation was cut off is begun anew: nothing was ever in it.
func readMarker(dir string) (*marker, error) {
	text, err := os.ReadFile(filepath.Join(dir, markerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, checkEmpty(dir)
	}
	if err != nil {
		return nil, err
	}
	m, err := parseMarker(string(text))
	if err != nil {
		return nil, err
	}
	if m.state == stateNew {
		return m, os.RemoveAll(filepath.Join(dir, dataDir))
	}
	if _, err := os.Stat(filepath.Join(dir, dataDir, "MANIFEST")); err != nil {
		return nil, damaged(dir, err)
	}
	return m, nil
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n := e.Name(); n != lockFile && n != markerFile+".tmp" {
			return fmt.Errorf("%w: the directory holds %s but no %s file; name an empty directory, or the one of a store",
				ErrFormat, n, markerFile)
		}
	}
	return nil
}

func parseMarker(text string) (*marker, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != magic || len(lines) < 2 {
		return nil, fmt.Errorf("%w: the %s file is not a penstock store's", ErrFormat, markerFile)
	}
	version, err := strconv.Atoi(strings.TrimPrefix(lines[1], "version "))
	if err != nil {
		return nil, fmt.Errorf("%w: the %s file names no version", ErrFormat, markerFile)
	}
	if version != formatVersion {
		return nil, fmt.Errorf("%w: version %d, this build reads version %d; use the build that wrote it, drain its queues, "+
			"and begin with an empty directory", ErrFormat, version, formatVersion)
	}
	m := new(marker)
	for _, l := range lines[2:] {
		switch k, v, _ := strings.Cut(l, " "); k {
		case "epoch":
			m.epoch = v
		case "state":
			m.state = v
		case "renew":
			m.renew = v
		}
	}
	if m.epoch == "" || m.state != stateNew && m.state != stateReady {
		return nil, fmt.Errorf("%w: the %s file is incomplete", ErrDamaged, markerFile)
	}
	return m, nil
}
