package store

// A transaction is bounded in entries and in bytes that go to the LSM tree. What
// goes into one is weighed beforehand: operations claim what they take, blocks and
// accounts know what they take at most. A commit takes half a transaction of
// operations, or one that is larger.

const (
	// maxOpenWeight bounds what settling every open block of a queue takes.
	maxOpenWeight = txnBytes / 3
	// maxRunWeight bounds what one step of a purge, a sweep or a drop of the
	// oldest takes.
	maxRunWeight = txnBytes / 8
	trimRun      = 512 // dead letters one commit deletes to keep to the quota
	nameRun      = 256 // rule names written in one transaction
	maxCause     = 256 // bytes of a cause that are counted apart
)

// weight is what something takes of a transaction, roughly and rather too much.
type weight struct{ entries, lsm int }

func (w weight) plus(v weight) weight { return weight{w.entries + v.entries, w.lsm + v.lsm} }

// half reports whether w is within half a transaction.
func (w weight) half() bool { return w.entries <= txnEntries/2 && w.lsm <= txnBytes/2 }

func pairWeight(key, value int) weight { return weight{1, 32 + key + lsmBytes(value)} }

// lsmBytes is what a value of n bytes takes in the LSM tree.
func lsmBytes(n int) int {
	if n >= valueThreshold {
		return 32
	}
	return n
}

// weigh sets what the operation's parts and records take.
func (o *op) weigh() {
	o.weight = weight{}
	for i := range o.parts {
		p := &o.parts[i]
		rules := len(p.index.rules)
		o.weight = o.weight.plus(weight{2 + 3*rules, 160 + 160*rules + lsmBytes(len(p.value))})
	}
	for _, r := range o.records {
		o.weight = o.weight.plus(pairWeight(2+len(r.Bucket)+len(r.Key), 4+len(r.Value)))
	}
}

// weight bounds what the block's settlement takes: its deletion, or a record of
// what is settled, which is longest when every other message is.
func (b *openBlock) weight() int {
	return 192 + len(b.key) + int(b.count) + 5*len(b.rules)
}

// weigh says what the queue's settlements take of the next commit.
func (q *Queue) weigh() weight {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := weight{2*len(q.dirty) + 2, q.dirtyWeight + 128 + len(q.name) + lsmBytes(64*len(q.except.runs))}
	for _, a := range q.accounts {
		if a.outDirty {
			w = w.plus(pairWeight(16, a.out.size()))
		}
	}
	return w
}

// size bounds the encoding.
func (o *outcomes) size() int {
	n := 40
	for cause := range o.dropped {
		n += 16 + len(cause)
	}
	return n
}

// fits reports whether the commit has room for another operation.
func (c *commit) fits(o *op) bool {
	w := c.weight.plus(o.weight)
	for _, q := range o.queues {
		if !c.must[q] {
			w = w.plus(q.weigh())
		}
	}
	return w.half()
}

// include has a queue's settlements written with the commit.
func (c *commit) include(q *Queue) {
	if c.must[q] {
		return
	}
	if c.must == nil {
		c.must = make(map[*Queue]bool)
	}
	c.must[q] = true
	c.order = append(c.order, q)
	c.weight = c.weight.plus(q.weigh())
}

// room reports whether a queue's settlements still fit. They may take a quarter
// more, so that operations alone do not fill one commit after the other.
func (c *commit) room(q *Queue) bool {
	if c.must[q] || c.weight == (weight{}) {
		return true
	}
	w := c.weight.plus(q.weigh())
	return w.entries <= txnEntries*3/4 && w.lsm <= txnBytes*3/4
}
