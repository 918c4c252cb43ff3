package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/message"
)

// commit is one transaction while the writer puts it together.
type commit struct {
	s       *Store
	ops     []*op
	later   []*op // taken, but left to the next commit
	failed  map[*op]error
	weight  weight // of what is in it already
	sets    []pair
	dels    [][]byte
	wrote   weight // sets and dels
	must    map[*Queue]bool
	order   []*Queue // of must
	extra   int      // of them, those no operation asked for
	appends []*queueAppend
	byQueue map[*Queue]*queueAppend
	snaps   []*snapshot
	gone    map[uint32]*account // to be added to the accounts of removed queues
	lost    []*part             // of removed queues
	revived []*part             // of dead letters
	trimmed int                 // dead letters deleted for the quota
	dropped map[*Queue]bool     // queues this commit deletes
	unbury  map[*Queue]map[uint32]uint64
	early   []pair // names to be written before it, being many
	rules   int    // names on disk after it
	dead    map[*Queue]*buried
	after   []func()
}

type pair struct{ key, value []byte }

// queueAppend is what a commit adds to one queue.
type queueAppend struct {
	q      *Queue
	next   uint64
	blocks []*newBlock
}

// newBlock is a block before and while it is written.
type newBlock struct {
	prio    uint8
	requeue bool
	parts   []*part
	index   index
	bytes   int
	first   uint64
	key     []byte
	value   []byte
	at      int // in commit.sets
}

func (c *commit) set(key, value []byte) {
	c.sets = append(c.sets, pair{key, value})
	c.wrote = c.wrote.plus(pairWeight(len(key), len(value)))
}

func (c *commit) put(key, body []byte) { c.set(key, sealed(key, body)) }

func (c *commit) del(key []byte) {
	c.dels = append(c.dels, key)
	c.wrote = c.wrote.plus(pairWeight(len(key), 0))
}

// then has f called once the commit has succeeded.
func (c *commit) then(f func()) { c.after = append(c.after, f) }

// run applies the operations, as many as there is room for, and builds everything
// they write.
func (c *commit) run(dirty []*Queue) (left []*Queue) {
	for i, o := range c.ops {
		if i > 0 && !c.fits(o) {
			c.ops, c.later = c.ops[:i], c.ops[i:]
			break
		}
		if err := c.apply(o); err != nil {
			c.fail(o, err)
		}
	}
	for _, a := range c.appends {
		if made := a.makeRoom(); a.q.unsaved() || made && c.room(a.q) {
			c.include(a.q)
		}
		a.build(c)
	}
	c.names()
	c.removedAccounts()
	return c.settle(dirty)
}

// apply adds one operation. It takes what it claimed, or what it really wrote if
// that is more.
func (c *commit) apply(o *op) error {
	before := c.wrote
	defer func() {
		c.weight.entries += max(o.weight.entries, c.wrote.entries-before.entries)
		c.weight.lsm += max(o.weight.lsm, c.wrote.lsm-before.lsm)
	}()
	for _, q := range o.queues {
		c.include(q)
	}
	if o.apply != nil {
		if err := o.apply(c); err != nil {
			return err
		}
	}
	for _, r := range o.records {
		c.record(r)
	}
	for i := range o.parts {
		c.add(&o.parts[i])
	}
	return nil
}

func (c *commit) fail(o *op, err error) {
	if c.failed == nil {
		c.failed = make(map[*op]error)
	}
	c.failed[o] = err
}

func (c *commit) record(r message.Record) {
	if r.Value == nil {
		// A set of the same key earlier in this commit must not win.
		c.set(recordKey(r.Bucket, r.Key), nil)
		return
	}
	c.put(recordKey(r.Bucket, r.Key), r.Value)
}

// add sorts a part into the block it belongs to.
func (c *commit) add(p *part) {
	if p.q.removed.Load() {
		c.lose(p)
		return
	}
	c.join(p)
}

func (c *commit) join(p *part) {
	a := c.byQueue[p.q]
	if a == nil {
		a = &queueAppend{q: p.q}
		if c.byQueue == nil {
			c.byQueue = make(map[*Queue]*queueAppend)
		}
		c.byQueue[p.q] = a
		c.appends = append(c.appends, a)
	}
	n := len(p.value) - blockHeader
	for i := len(a.blocks) - 1; i >= 0; i-- {
		b := a.blocks[i]
		if b.prio != p.prio || b.requeue != p.requeue {
			continue
		}
		if b.bytes+n <= maxBlock && b.index.count+p.index.count <= maxBlockMessages {
			b.parts = append(b.parts, p)
			b.index.merge(&p.index)
			b.bytes += n
			return
		}
		break
	}
	b := &newBlock{prio: p.prio, requeue: p.requeue, parts: []*part{p}, bytes: n}
	b.index.merge(&p.index)
	a.blocks = append(a.blocks, b)
}

// lose counts a part whose queue was removed after the caller chose it.
func (c *commit) lose(p *part) {
	for _, r := range p.index.rules {
		g := c.goneAccount(r.rule)
		g.accepted += uint64(r.count)
		g.out.drop("removed", uint64(r.count))
	}
	c.lost = append(c.lost, p)
}

func (c *commit) goneAccount(rule uint32) *account {
	if c.gone == nil {
		c.gone = make(map[uint32]*account)
	}
	g := c.gone[rule]
	if g == nil {
		g = new(account)
		c.gone[rule] = g
	}
	return g
}

// build numbers the blocks, most urgent first, and writes them and what was accepted.
func (a *queueAppend) build(c *commit) {
	slices.SortStableFunc(a.blocks, func(x, y *newBlock) int { return cmp.Compare(x.prio, y.prio) })
	accepted := make(map[uint32]uint64)
	a.q.mu.Lock()
	a.next = a.q.next
	for _, b := range a.blocks {
		for _, r := range b.index.rules {
			accepted[r.rule] = a.q.account(r.rule).accepted
		}
	}
	a.q.mu.Unlock()
	for _, b := range a.blocks {
		b.first = a.next
		a.next += uint64(b.index.count)
		b.join(a.q.id)
		b.at = len(c.sets)
		c.set(b.key, b.value)
		if !b.requeue {
			for _, r := range b.index.rules {
				accepted[r.rule] += uint64(r.count)
			}
		}
	}
	for rule, n := range accepted {
		c.put(ruleKey(keyIn, a.q.id, rule), appendCount(nil, n))
	}
}

// join makes key and value of the parts; a single part is used as it is.
func (b *newBlock) join(queue uint32) {
	prefix := blockKey(keyBlock, queue, b.prio, b.first)
	if len(b.parts) == 1 {
		b.value = b.parts[0].value
	} else {
		b.value = make([]byte, blockHeader, blockHeader+b.bytes)
		for _, p := range b.parts {
			b.value = append(b.value, p.value[blockHeader:]...)
		}
	}
	seal(prefix, b.value)
	b.key = b.index.append(prefix)
}

// names writes the rule names that are not on disk yet. Many go first, in
// transactions of their own: a name that no block mentions does no harm.
func (c *commit) names() {
	first, names := c.s.rules.unsaved()
	c.rules = first + len(names)
	for i, n := range names {
		k := queueKey(keyRule, uint32(first+i))
		if len(names) > nameRun {
			c.early = append(c.early, pair{k, sealed(k, []byte(n))})
		} else {
			c.put(k, []byte(n))
		}
	}
}

func (c *commit) removedAccounts() {
	g := c.s.gone
	g.mu.Lock()
	defer g.mu.Unlock()
	for rule, d := range c.gone {
		a := g.account(rule)
		out := a.out.clone()
		out.merge(&d.out)
		c.put(ruleKey(keyIn, 0, rule), appendCount(nil, a.accepted+d.accepted))
		c.put(ruleKey(keyOut, 0, rule), out.append(nil))
	}
}

// fit pads blocks into the value log until the rest fits the LSM tree's share of
// a transaction: one message for thousands of queues is still one transaction.
func (c *commit) fit() {
	lsm := c.wrote.lsm
	if lsm <= txnBytes {
		return
	}
	var small []*newBlock
	for _, a := range c.appends {
		for _, b := range a.blocks {
			if len(b.value) < valueThreshold {
				small = append(small, b)
			}
		}
	}
	slices.SortFunc(small, func(x, y *newBlock) int { return cmp.Compare(len(y.value), len(x.value)) })
	for _, b := range small {
		if lsm <= txnBytes {
			return
		}
		lsm -= len(b.value) - 32
		c.sets[b.at].value = pad(b.value)
	}
}

// write commits the transaction. clean says that after an error nothing of it
// can be on disk.
func (c *commit) write() (clean bool, err error) {
	if len(c.sets) == 0 && len(c.dels) == 0 {
		return true, nil
	}
	c.fit()
	for names := range slices.Chunk(c.early, nameRun) {
		if clean, err := c.s.transact(names, nil); err != nil {
			return clean, err
		}
		c.s.rules.wrote(len(names))
	}
	return c.s.transact(c.sets, c.dels)
}

// transact is one transaction; in sets, a nil value deletes.
func (s *Store) transact(sets []pair, dels [][]byte) (clean bool, err error) {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for _, k := range dels {
		if err := txn.Delete(k); err != nil {
			return true, fmt.Errorf("delete %x: %w", k, err)
		}
	}
	for _, p := range sets {
		if p.value == nil {
			err = txn.Delete(p.key)
		} else {
			err = txn.Set(p.key, p.value)
		}
		if err != nil {
			return true, fmt.Errorf("write %x: %w", p.key[:min(len(p.key), 32)], err)
		}
	}
	err = txn.Commit()
	if err == nil && s.blog.syncFailed.Load() {
		err = errors.New("the value log could not be synced")
	}
	clean = errors.Is(err, badger.ErrTxnTooBig) || errors.Is(err, badger.ErrBlockedWrites) || errors.Is(err, badger.ErrDBClosed)
	return clean, err
}

// publish makes a successful commit visible in memory.
func (c *commit) publish() {
	c.s.rules.wrote(c.rules - c.s.rules.saved)
	for _, a := range c.appends {
		a.publish()
	}
	for _, sn := range c.snaps {
		sn.publish()
	}
	for _, p := range c.lost {
		c.s.release(p.q, int64(p.index.bytes))
	}
	if len(c.gone) > 0 {
		c.s.gone.mu.Lock()
		for rule, d := range c.gone {
			a := c.s.gone.account(rule)
			a.accepted += d.accepted
			a.out.merge(&d.out)
		}
		c.s.gone.mu.Unlock()
	}
	for _, f := range c.after {
		f()
	}
}

func (a *queueAppend) publish() {
	q := a.q
	for _, b := range a.blocks {
		x := b.index
		q.s.cache.add(tailKey{q.id, b.prio}, &cached{key: b.key, first: b.first, index: &x, value: b.value})
	}
	q.mu.Lock()
	q.next = a.next
	for _, b := range a.blocks {
		l := q.lane(b.first)
		if q.waiting[l][b.prio] == 0 {
			q.cursor[l][b.prio] = b.first
		}
		q.waiting[l][b.prio] += int64(b.index.count)
		q.blocks++
		for _, r := range b.index.rules {
			acc := q.account(r.rule)
			acc.queued += int64(r.count)
			acc.bytes += int64(r.bytes)
			if b.requeue {
				acc.out.buried -= uint64(r.count)
				acc.outDirty = true
			} else {
				acc.accepted += uint64(r.count)
			}
		}
	}
	q.mu.Unlock()
	q.signal()
}

// undo returns a failed commit's settlements to the queues, and what its
// messages took of the quotas unless they are tried again.
func (c *commit) undo(again bool) {
	for _, sn := range c.snaps {
		sn.undo()
	}
	for _, p := range c.revived {
		c.s.release(p.q, int64(p.index.bytes))
	}
	for _, o := range c.ops {
		if o.keep || again {
			continue
		}
		for i := range o.parts {
			c.s.release(o.parts[i].q, int64(o.parts[i].index.bytes))
		}
	}
}
