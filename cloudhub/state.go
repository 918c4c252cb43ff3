package cloudhub

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// The state folder, format version 1:
//
//	VERSION         the line stateVersion
//	lock            locked while a hub uses the folder
//	nats/           JetStream's files, with an embedded server, unless configured elsewhere
//	index.snapshot  the ingress's index of origins; see package ingress
//	nats.token      what NATS clients of the embedded server present; mode 0600
//	api.token       what clients of the HTTP API present; mode 0600, unless configured elsewhere
const stateVersion = "penstock cloudhub state 1"

// state is an open, locked state folder.
type state struct {
	dir  string
	lock *os.File
}

func openState(dir string) (*state, error) {
	if dir == "" {
		return nil, errors.New("open state folder: none is configured")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open state folder: %w", err)
	}
	s := &state{dir: dir}
	var err error
	if s.lock, err = os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open state folder: %w", err)
	}
	// The kernel drops the lock with the process, however that ends.
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		s.close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := s.checkVersion(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

func (s *state) close() { _ = s.lock.Close() }

func (s *state) checkVersion() error {
	b, err := os.ReadFile(s.path("VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(s.path("VERSION"), []byte(stateVersion+"\n"), 0o600); err != nil {
			return fmt.Errorf("open state folder: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open state folder: %w", err)
	}
	if got := strings.TrimSpace(string(b)); got != stateVersion {
		return fmt.Errorf("open state folder %s: it says %.40q, this cloudhub reads %q: %w", s.dir, got, stateVersion, ErrVersion)
	}
	return nil
}

// token returns the secret in the file at path, made at the first call.
func token(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if t := strings.TrimSpace(string(b)); t != "" {
			return t, nil
		}
		return "", fmt.Errorf("read token: %s is empty; remove it and a new one is made", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read token: %w", err)
	}
	t := rand.Text()
	if err := os.WriteFile(path, []byte(t+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	return t, nil
}
