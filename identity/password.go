package identity

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

const (
	hashScheme    = "pbkdf2-sha512"
	hashRounds    = 210_000 // OWASP's figure for PBKDF2 with SHA-512
	maxHashRounds = 5_000_000
	hashSize      = sha512.Size
)

// ErrPasswordHash: a configured password hash is not of the form HashPassword makes.
var ErrPasswordHash = errors.New("malformed password hash, make one with `edgectl password`")

// HashPassword derives what a configuration keeps instead of the password:
// $pbkdf2-sha512${rounds}${salt}${hash}, salt and hash in base64.
func HashPassword(password string) (string, error) {
	if password == "" {
		return "", errors.New("hash password: it is empty")
	}
	salt := make([]byte, 16)
	rand.Read(salt) //nolint:errcheck // never fails since Go 1.24
	return deriveHash(password, salt, hashRounds)
}

func deriveHash(password string, salt []byte, rounds int) (string, error) {
	sum, err := pbkdf2.Key(sha512.New, password, salt, rounds, hashSize)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	b := base64.RawStdEncoding
	return fmt.Sprintf("$%s$%d$%s$%s", hashScheme, rounds, b.EncodeToString(salt), b.EncodeToString(sum)), nil
}

type passwordHash struct {
	rounds    int
	salt, sum []byte
}

func parseHash(s Secret) (h passwordHash, err error) {
	parts := strings.Split(s.Reveal(), "$")
	if len(parts) != 5 || parts[0] != "" || parts[1] != hashScheme {
		return h, ErrPasswordHash
	}
	h.rounds, err = strconv.Atoi(parts[2])
	if err != nil || h.rounds < 1 || h.rounds > maxHashRounds {
		return h, ErrPasswordHash
	}
	h.salt, err = base64.RawStdEncoding.DecodeString(parts[3])
	if err != nil || len(h.salt) < 8 {
		return h, ErrPasswordHash
	}
	h.sum, err = base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(h.sum) != hashSize {
		return h, ErrPasswordHash
	}
	return h, nil
}

func (h passwordHash) matches(password []byte) bool {
	sum, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.rounds, len(h.sum))
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// account is a User with its hash parsed.
type account struct {
	User
	hash passwordHash

	mu    sync.Mutex
	known [sha256.Size]byte // of the password that last matched; zero: none yet
}

// passwords checks passwords. Deriving a hash takes a processor some tenth of a
// second, so what matched once is recognised by a keyed digest, and few are
// derived at a time: clients that reconnect all at once do not pay again, and
// guessing does not take the machine away from the messages.
type passwords struct {
	key    []byte // of this process only
	derive chan struct{}
	dummy  passwordHash
}

func newPasswords() *passwords {
	p := &passwords{key: make([]byte, 32), derive: make(chan struct{}, 2)}
	rand.Read(p.key) //nolint:errcheck // never fails since Go 1.24
	p.dummy = passwordHash{rounds: hashRounds, salt: p.key[:16], sum: make([]byte, hashSize)}
	return p
}

// check reports whether password is a's. With a nil it takes as long as if it
// were wrong, so that answers do not tell which users exist.
func (p *passwords) check(a *account, password []byte) bool {
	if a == nil {
		p.slow(p.dummy, password)
		return false
	}
	digest := [sha256.Size]byte(sign(p.key, string(password)))
	a.mu.Lock()
	known := a.known
	a.mu.Unlock()
	if known != [sha256.Size]byte{} && hmac.Equal(known[:], digest[:]) {
		return true
	}
	if !p.slow(a.hash, password) {
		return false
	}
	a.mu.Lock()
	a.known = digest
	a.mu.Unlock()
	return true
}

func (p *passwords) slow(h passwordHash, password []byte) bool {
	p.derive <- struct{}{}
	defer func() { <-p.derive }()
	return h.matches(password)
}
