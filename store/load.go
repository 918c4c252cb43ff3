package store

import (
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/internal/binread"
)

// load rebuilds what memory holds from the database: the records, and the keys
// (not the values) of all blocks.
func (s *Store) load() error {
	l := loader{s: s, byID: map[uint32]*Queue{0: s.gone}}
	if err := l.header(); err != nil {
		return err
	}
	steps := []struct {
		tag  byte
		each func(k, v []byte) error
	}{
		{keyRule, l.rule},
		{keyQueue, l.queue},
		{keyIn, l.in},
		{keyOut, l.out},
		{keyExcept, l.except},
		{keyPart, l.part},
	}
	for _, st := range steps {
		if err := l.values(st.tag, st.each); err != nil {
			return damaged(s.cfg.Dir, err)
		}
	}
	if err := l.keys(keyBlock, l.block); err != nil {
		return damaged(s.cfg.Dir, err)
	}
	if err := l.keys(keyDead, l.dead); err != nil {
		return damaged(s.cfg.Dir, err)
	}
	return l.finish()
}

type loader struct {
	s     *Store
	byID  map[uint32]*Queue
	parts map[string][]byte // by block key without index
	index index
}

func (l *loader) header() error {
	epoch, base, err := l.s.readHeader()
	if err != nil {
		return err
	}
	if epoch != l.s.epoch {
		return l.s.strange(epoch, l.s.epoch)
	}
	l.s.seqBase = base
	return nil
}

// readHeader returns what the store's record says.
func (s *Store) readHeader() (epoch string, base uint64, err error) {
	v, err := s.get([]byte{keyStore})
	if err == nil && v == nil {
		err = fmt.Errorf("the store's own record is missing")
	}
	if err != nil {
		return "", 0, damaged(s.cfg.Dir, err)
	}
	r := binread.Reader{B: v}
	if version := r.Uvarint(); version != formatVersion {
		return "", 0, fmt.Errorf("%w: the database says version %d", ErrFormat, version)
	}
	epoch, base = r.String(), r.Uvarint()
	if !r.Whole() || base == 0 {
		return "", 0, damaged(s.cfg.Dir, fmt.Errorf("the store's own record cannot be read"))
	}
	return epoch, base, nil
}

// strange is the error for a database and a marker that do not belong together.
func (s *Store) strange(database, file string) error {
	return damaged(s.cfg.Dir, fmt.Errorf("the database (epoch %q) and the %s file (epoch %q) are of different stores", database, markerFile, file))
}

// values calls each for the unsealed values of one kind of key.
func (l *loader) values(tag byte, each func(k, v []byte) error) error {
	return l.s.scan([]byte{tag}, []byte{tag}, func(it *badger.Item) (bool, error) {
		k := it.KeyCopy(nil)
		v, err := it.ValueCopy(nil)
		if err == nil {
			v, err = unseal(k, v)
		}
		if err == nil {
			err = each(k, v)
		}
		return err == nil, err
	})
}

func (l *loader) keys(tag byte, each func(it *badger.Item) error) error {
	return l.s.scan([]byte{tag}, []byte{tag}, func(it *badger.Item) (bool, error) {
		err := each(it)
		return err == nil, err
	})
}

// queueOf returns the queue a key of n bytes or more belongs to.
func (l *loader) queueOf(k []byte, n int) (*Queue, error) {
	if len(k) < n {
		return nil, fmt.Errorf("read key %x: too short: %w", k, ErrDamaged)
	}
	q := l.byID[binary.BigEndian.Uint32(k[1:])]
	if q == nil {
		return nil, fmt.Errorf("read key %x: no such queue: %w", k, ErrDamaged)
	}
	return q, nil
}

func (l *loader) rule(k, v []byte) error {
	t := &l.s.rules
	if len(k) != 5 || binary.BigEndian.Uint32(k[1:]) != uint32(len(t.names)) {
		return fmt.Errorf("read rule name %x: %w", k, ErrDamaged)
	}
	t.ids[string(v)] = uint32(len(t.names))
	t.names = append(t.names, string(v))
	t.saved++
	return nil
}

func (l *loader) queue(k, v []byte) error {
	var r queueRecord
	if err := r.parse(v); err != nil || len(k) != 5 {
		return fmt.Errorf("read queue %x: %w", k, ErrDamaged)
	}
	id := binary.BigEndian.Uint32(k[1:])
	q := newQueue(l.s, id, r.name)
	q.next, q.onDisk = r.next, r.next
	if r.limit > 0 {
		q.bound.Store(&bound{bytes: r.limit, policy: r.policy, own: true})
	} else {
		q.bound.Store(l.s.configured(r.name))
	}
	q.removed.Store(r.removed)
	l.byID[id] = q
	l.s.lastID = max(l.s.lastID, id)
	// Two of a name: the lower id was being dropped when the power failed, and
	// the record of its successor was written before its own. Ids come in order.
	if old := l.s.queues[r.name]; old != nil {
		old.removed.Store(true)
		l.s.removing[old.id] = old
		delete(l.s.queues, r.name)
	}
	if r.removed {
		l.s.removing[id] = q
	} else {
		l.s.queues[r.name] = q
	}
	return nil
}

func (l *loader) account(k []byte) (*account, error) {
	q, err := l.queueOf(k, 9)
	if err != nil {
		return nil, err
	}
	rule := binary.BigEndian.Uint32(k[5:])
	if int(rule) >= len(l.s.rules.names) {
		return nil, fmt.Errorf("read account %x: no such rule: %w", k, ErrDamaged)
	}
	return q.account(rule), nil
}

func (l *loader) in(k, v []byte) error {
	a, err := l.account(k)
	if err != nil {
		return err
	}
	r := binread.Reader{B: v}
	if a.accepted = r.Uvarint(); !r.Whole() {
		return fmt.Errorf("read account %x: %w", k, ErrDamaged)
	}
	return nil
}

func (l *loader) out(k, v []byte) error {
	a, err := l.account(k)
	if err != nil {
		return err
	}
	return a.out.parse(v)
}

func (l *loader) except(k, v []byte) error {
	q, err := l.queueOf(k, 5)
	if err != nil {
		return err
	}
	return q.except.parse(v)
}

// part keeps what is settled of a block until the block itself is read.
func (l *loader) part(k, v []byte) error {
	if len(k) != blockPrefix {
		return fmt.Errorf("read key %x: %w", k, ErrDamaged)
	}
	if l.parts == nil {
		l.parts = make(map[string][]byte)
	}
	l.parts[string(k[1:])] = v
	return nil
}

func (l *loader) block(it *badger.Item) error {
	k := it.Key()
	_, prio, first, rest, err := parseBlockKey(k)
	if err != nil {
		return err
	}
	q, err := l.queueOf(k, blockPrefix)
	if err != nil {
		return err
	}
	x := &l.index
	if err := x.parse(rest); err != nil {
		return err
	}
	left := int64(x.count)
	stats := x.rules
	if v, ok := l.parts[string(k[1:blockPrefix])]; ok {
		delete(l.parts, string(k[1:blockPrefix]))
		ob := newOpenBlock(k, prio, first, x)
		if err := ob.loadPart(v); err != nil {
			return err
		}
		q.insert(ob)
		left, stats = int64(ob.left), ob.rules
	}
	for _, r := range stats {
		if int(r.rule) >= len(l.s.rules.names) {
			return fmt.Errorf("read block %x: no such rule: %w", k, ErrDamaged)
		}
		a := q.account(r.rule)
		a.queued += int64(r.count)
		a.bytes += int64(r.bytes)
	}
	if q.waiting[Live][prio] == 0 {
		q.cursor[Live][prio] = first
	}
	q.waiting[Live][prio] += left
	q.blocks++
	q.next = max(q.next, first+uint64(x.count))
	l.s.adjust(q, int64(x.bytes))
	return nil
}

func (l *loader) dead(it *badger.Item) error {
	q, err := l.queueOf(it.Key(), 13)
	if err != nil {
		return err
	}
	if q.dead.count == 0 {
		q.dead.low = binary.BigEndian.Uint64(it.Key()[5:])
	}
	q.dead.add(1, it.ValueSize())
	return nil
}

// finish checks that every account adds up. An account that does not is reported
// and kept: the messages are still there to be delivered.
func (l *loader) finish() error {
	if len(l.parts) > 0 {
		return damaged(l.s.cfg.Dir, fmt.Errorf("%d blocks are missing", len(l.parts)))
	}
	for _, q := range l.byID {
		for _, a := range q.ledgerOf() {
			if !a.Balanced() {
				l.s.log.Error("account does not add up", "queue", a.Queue, "rule", a.Rule, "err",
					fmt.Sprintf("accepted %d, queued %d, delivered %d, expired %d, buried %d, dropped %v",
						a.Accepted, a.Queued, a.Delivered, a.Expired, a.Buried, a.Dropped))
			}
		}
		if q.removed.Load() {
			l.s.seqBase = max(l.s.seqBase, q.next) // until the drop is finished
		}
		if q.blocks > 0 {
			q.signal()
		}
	}
	return nil
}
