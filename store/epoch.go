package store

import (
	"crypto/rand"
	"errors"
	"fmt"
)

// RenewEpoch gives the store in dir a new epoch. It must be run on a store that
// was restored from a backup, before it is opened: the store would otherwise give
// sequences a second time that others have seen under the old epoch, and they
// would take new messages for repetitions of those. It fails with ErrLocked while
// the store is open, with ErrFormat if there is none, and with ErrDamaged as Open
// does. If it is cut off, running it again or opening the store finishes it.
func RenewEpoch(dir string) error {
	if err := renewEpoch(dir); err != nil {
		return fmt.Errorf("renew epoch of store %s: %w", dir, err)
	}
	return nil
}

func renewEpoch(dir string) (err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.release()
	m, err := readMarker(dir)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("%w: the directory holds no store", ErrFormat)
	}
	if m.state == stateNew {
		m.epoch = rand.Text()
		return m.write(dir)
	}
	m.renew = rand.Text()
	if err := m.write(dir); err != nil {
		return err
	}
	cfg := Config{Dir: dir}
	cfg.defaults()
	s := newStore(cfg, lock)
	if err := s.openBadger(); err != nil {
		return err
	}
	return errors.Join(s.renewEpoch(m), s.db.Close())
}

// renewEpoch finishes what the marker says was begun: first the database, then
// the marker.
func (s *Store) renewEpoch(m *marker) error {
	if m.renew == "" {
		return nil
	}
	epoch, base, err := s.readHeader()
	if err != nil {
		return err
	}
	if epoch != m.epoch && epoch != m.renew {
		return s.strange(epoch, m.epoch)
	}
	s.epoch, s.seqBase = m.renew, base
	if err := s.writeHeader(); err != nil {
		return fmt.Errorf("write epoch: %w", err)
	}
	m.epoch, m.renew = m.renew, ""
	return m.write(s.cfg.Dir)
}
