package router

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/penstock-io/penstock/message"
)

// seenBucket holds one record per committed batch with messages that can be
// recognised: the key is the batch's stamp in 16 hex digits, the value its digests, 16 bytes each.
const seenBucket = "seen"

// digest stands for one message as its sender repeats it. It is cut from SHA-256:
// one device must not be able to make another's messages look repeated.
type digest [16]byte

// digestOf is the digest of a message that can be recognised: by its origin if a
// child hub counted it, else by its message id; ok is false without either. It
// uses scratch as working space and returns it grown.
//
// An id counts together with who sent what: (kind, device, module, output, topic,
// id, body). A module that sends one message to two outputs, under one id, means
// two messages, and so does a device whose ids are a counter that began again.
func digestOf(m *message.Message, scratch []byte) (d digest, grown []byte, ok bool) {
	b := scratch[:0]
	if m.Origin.Seq != 0 {
		b = append(b, byOrigin)
		b = appendTexts(b, m.Origin.Device, m.Origin.Epoch)
		b = binary.AppendUvarint(b, m.Origin.Seq)
	} else {
		if len(m.System) == 0 {
			return d, scratch, false
		}
		id := m.ID()
		if id == "" {
			return d, scratch, false
		}
		b = append(b, byID, byte(m.Kind))
		b = appendTexts(b, m.Device, m.Module, m.Output, m.Topic, id)
		body := sha256.Sum256(m.Body)
		b = append(b, body[:]...)
	}
	sum := sha256.Sum256(b)
	return digest(sum[:16]), b, true
}

// appendTexts appends each text behind its length, so that no two lists look alike.
func appendTexts(b []byte, texts ...string) []byte {
	for _, s := range texts {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// What a digest was made of; no digest of one sort equals one of the other.
const (
	byID     = 'i'
	byOrigin = 'o'
)

// seen recognises messages that a sender repeats. It knows the ids of the last
// window, at most max of them, the oldest leave first; they are committed
// together with their messages and loaded again at start.
//
// An id is pending from its claim until the fate of its message is known. A
// repetition of a pending message is appended behind it, and the store completes
// in that order, so by then the first one's fate is known.
type seen struct {
	window time.Duration
	max    int

	mu       sync.Mutex // held for map operations only
	appended sync.Cond  // some flight was appended
	pending  map[digest]*flight
	known    map[digest]struct{}
	groups   []group         // oldest first
	stamp    uint64          // the last given
	stale    map[uint64]bool // records to delete
}

// flight is one batch with ids on its way to the disk.
type flight struct {
	appended bool
	fates    map[digest]error // of what was not stored; nil if all was
	stamp    uint64
}

// group is what one record holds.
type group struct {
	stamp uint64
	ids   []digest
}

// mark is a message of a batch that carries an id.
type mark struct {
	id     digest
	msg    int32
	routed bool
	dup    bool
	first  *flight // for dup: where the first copy is; nil: committed
}

func newSeen(window time.Duration, limit int) *seen {
	s := &seen{
		window: window, max: limit,
		pending: make(map[digest]*flight), known: make(map[digest]struct{}),
		stale: make(map[uint64]bool),
	}
	s.appended.L = &s.mu
	return s
}

// claim finds out which marks are repetitions, and waits until the first copies
// of those have their place in the store's order.
func (s *seen) claim(marks []mark) *flight {
	f := new(flight)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range marks {
		m := &marks[i]
		if _, ok := s.known[m.id]; ok {
			m.dup = true
		} else if first := s.pending[m.id]; first != nil {
			m.dup, m.first = true, first
		} else {
			s.pending[m.id] = f
		}
	}
	// Whoever is waited for claimed earlier, so nobody waits in a circle.
	for i := range marks {
		for first := marks[i].first; first != nil && first != f && !first.appended; {
			s.appended.Wait()
		}
	}
	return f
}

// record returns the record that remembers the routed marks of f, as far as their
// messages are not refused.
func (s *seen) record(f *flight, marks []mark, refused []error, now time.Time) (message.Record, bool) {
	var value []byte
	for i := range marks {
		if marks[i].routed && (refused == nil || refused[marks[i].msg] == nil) {
			if value == nil {
				value = make([]byte, 0, len(marks)*len(digest{}))
			}
			value = append(value, marks[i].id[:]...)
		}
	}
	if value == nil {
		return message.Record{}, false
	}
	s.mu.Lock()
	f.stamp = s.nextStamp(now)
	s.mu.Unlock()
	return message.Record{Bucket: seenBucket, Key: stampKey(f.stamp), Value: value}, true
}

// nextStamp needs mu. Stamps are Unix milliseconds with 20 bits below to tell
// batches apart; they never go back, even if the clock does.
func (s *seen) nextStamp(now time.Time) uint64 {
	s.stamp = max(s.stamp+1, uint64(now.UnixMilli())<<20)
	return s.stamp
}

func (s *seen) launched(f *flight) {
	s.mu.Lock()
	f.appended = true
	s.mu.Unlock()
	s.appended.Broadcast()
}

// land records the fates of a batch: fate tells what became of message i. It
// then gives each repetition its first copy's fate through answer.
func (s *seen) land(f *flight, marks []mark, now time.Time, fate func(msg int32) error, answer func(msg int32, err error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]digest, 0, len(marks))
	for i := range marks {
		m := &marks[i]
		if m.dup {
			continue
		}
		delete(s.pending, m.id)
		if err := fate(m.msg); err != nil {
			if f.fates == nil {
				f.fates = make(map[digest]error)
			}
			f.fates[m.id] = err
		} else if m.routed {
			s.known[m.id] = struct{}{}
			ids = append(ids, m.id)
		}
	}
	if len(ids) > 0 {
		s.groups = append(s.groups, group{f.stamp, ids})
	}
	s.forget(now)
	for i := range marks {
		m := &marks[i]
		if m.dup && m.first != nil && m.first.fates[m.id] != nil {
			answer(m.msg, fmt.Errorf("%w: %w", ErrUncommitted, m.first.fates[m.id]))
		}
	}
}

// forget needs mu. It drops what is older than the window or beyond the limit.
func (s *seen) forget(now time.Time) {
	n := 0
	for n < len(s.groups) && (len(s.known) > s.max || s.old(s.groups[n].stamp, now)) {
		for _, id := range s.groups[n].ids {
			delete(s.known, id)
		}
		s.stale[s.groups[n].stamp] = true
		n++
	}
	clear(s.groups[:n])
	s.groups = s.groups[n:]
}

func (s *seen) old(stamp uint64, now time.Time) bool {
	return int64(stamp>>20) < now.Add(-s.window).UnixMilli()
}

// sweep returns the deletions of what was forgotten.
func (s *seen) sweep(now time.Time) []message.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	var rs []message.Record
	for stamp := range maps.Keys(s.stale) {
		rs = append(rs, message.Record{Bucket: seenBucket, Key: stampKey(stamp)})
	}
	clear(s.stale)
	return rs
}

// load takes one record in, as Records calls it: in the order of keys.
func (s *seen) load(key string, value []byte) error {
	stamp, err := strconv.ParseUint(key, 16, 64)
	if err != nil || len(value)%len(digest{}) != 0 {
		return fmt.Errorf("read message ids %q: %d bytes: not a record of this kind", key, len(value))
	}
	g := group{stamp: stamp, ids: make([]digest, 0, len(value)/len(digest{}))}
	for ; len(value) > 0; value = value[len(digest{}):] {
		id := digest(value)
		s.known[id] = struct{}{}
		g.ids = append(g.ids, id)
	}
	s.groups = append(s.groups, g)
	s.stamp = max(s.stamp, stamp)
	return nil
}

func stampKey(stamp uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], stamp)
	return fmt.Sprintf("%x", b)
}
