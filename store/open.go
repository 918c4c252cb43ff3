package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/internal/binread"
)

// Open opens the store in cfg.Dir, or creates one if the directory is missing or
// empty. It fails with ErrLocked, ErrFormat or ErrDamaged; it never repairs by
// forgetting.
func Open(cfg Config) (*Store, error) {
	cfg.defaults()
	if cfg.Dir == "" {
		return nil, fmt.Errorf("open store: no directory given")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", cfg.Dir, err)
	}
	s := newStore(cfg, lock)
	if err := s.open(); err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		lock.release()
		return nil, fmt.Errorf("open store %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func newStore(cfg Config, lock *dirLock) *Store {
	s := &Store{
		cfg: cfg, log: cfg.Log, lock: lock, blog: &badgerLog{log: cfg.Log},
		rules: ruleTable{ids: make(map[string]uint32)},
		cache: newCache(cfg.CacheBytes), in: newIntake(cfg.IntakeBytes),
		queues: make(map[string]*Queue), removing: make(map[uint32]*Queue), seqBase: 1,
		completions: newCompletions(), tasks: make(chan func()), stop: make(chan struct{}), written: make(chan struct{}),
		failed: make(chan struct{}),
	}
	s.gone = newQueue(s, 0, RemovedQueue)
	return s
}

func (s *Store) open() error {
	start := time.Now()
	m, err := readMarker(s.cfg.Dir)
	if err != nil {
		return err
	}
	if m == nil {
		m = &marker{epoch: rand.Text(), state: stateNew}
		if err := m.write(s.cfg.Dir); err != nil {
			return err
		}
	}
	if err := s.openBadger(); err != nil {
		return err
	}
	s.epoch = m.epoch
	if m.state == stateNew {
		if err := s.create(m); err != nil {
			return err
		}
	}
	if err := s.renewEpoch(m); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	s.checkDisk()
	s.start()
	s.log.Debug("store opened", "took", time.Since(start), "epoch", s.epoch)
	return nil
}

// openBadger opens the database and turns its panics and errors into ErrDamaged
// with what to do.
func (s *Store) openBadger() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged(s.cfg.Dir, fmt.Errorf("%v", p))
		}
	}()
	opts := badgerOptions(filepath.Join(s.cfg.Dir, dataDir), s.blog)
	var db *badger.DB
	if err = checkTables(opts.Dir, opts); err == nil {
		db, err = badger.Open(opts)
	}
	switch {
	case err == nil: // beside an error it is half open, and closing it panics
		s.db = db
		return nil
	case errors.Is(err, os.ErrPermission):
		return err
	case isNoSpace(err):
		return fmt.Errorf("%w: free some space on the file system and start again (%w)", ErrDiskFull, err)
	}
	return damaged(s.cfg.Dir, err)
}

func damaged(dir string, err error) error {
	return fmt.Errorf("%w: %w; it was left as it is. Restore the directory from a backup and then run edgehub -renew-epoch, "+
		"or move it away to begin with an empty store (messages in it are then not delivered): mv %s %s.damaged",
		ErrDamaged, err, dir, dir)
}

// create writes the store's record and then marks the directory as complete.
func (s *Store) create(m *marker) error {
	if err := s.writeHeader(); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	m.state = stateReady
	return m.write(s.cfg.Dir)
}

// writeHeader is for the time before there is a writer.
func (s *Store) writeHeader() error {
	return s.db.Update(func(txn *badger.Txn) error {
		return txn.Set([]byte{keyStore}, sealed([]byte{keyStore}, s.header()))
	})
}

// header is the store's record: version, epoch, and where new queues begin.
func (s *Store) header() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := binary.AppendUvarint(nil, formatVersion)
	v = binread.Append(v, s.epoch)
	return binary.AppendUvarint(v, s.seqBase)
}

func (s *Store) start() {
	s.background.Add(3)
	go func() {
		defer s.background.Done()
		s.completions.run()
	}()
	go func() {
		defer s.background.Done()
		s.housekeep()
	}()
	go func() {
		defer s.background.Done()
		s.reclaimSpace()
	}()
	go s.write()
}
