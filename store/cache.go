package store

import (
	"container/list"
	"slices"
	"sync"
	"sync/atomic"
)

// cache keeps the newest committed blocks of all queues, so that a consumer that
// keeps up reads nothing from disk. For each queue and priority it holds an
// unbroken tail: every block that exists from `from` on.
type cache struct {
	mu    sync.Mutex
	tails map[tailKey]*tail
	age   list.List // of *cached, oldest first
	bytes int64
	max   int64

	hits, misses atomic.Uint64
}

type tailKey struct {
	queue uint32
	prio  uint8
}

type tail struct {
	from   uint64
	blocks []*cached // ascending by first
}

// cached is one block; it is immutable.
type cached struct {
	tail  *tail
	el    *list.Element
	key   []byte // complete, with the index
	first uint64
	index *index
	value []byte
}

func newCache(max int64) *cache { return &cache{tails: make(map[tailKey]*tail), max: max} }

func (c *cache) add(k tailKey, b *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tails[k]
	if t == nil {
		t = &tail{from: b.first}
		c.tails[k] = t
	}
	b.tail = t
	t.blocks = append(t.blocks, b)
	b.el = c.age.PushBack(b)
	c.bytes += int64(len(b.value))
	for c.bytes > c.max && c.age.Len() > 0 {
		old := c.age.Front().Value.(*cached)
		old.tail.from = old.first + 1
		c.drop(old)
	}
}

// read returns blocks with from <= first < to, in order, as long as each wants
// more. ok is false if the cache does not know all of them.
func (c *cache) read(k tailKey, from, to uint64, each func(*cached) bool) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tails[k]
	if t == nil || from < t.from {
		c.misses.Add(1)
		return false
	}
	c.hits.Add(1)
	for _, b := range t.blocks[t.search(from):] {
		if b.first >= to || !each(b) {
			break
		}
	}
	return true
}

// remove forgets a block that was deleted.
func (c *cache) remove(k tailKey, first uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tails[k]; t != nil {
		if i := t.search(first); i < len(t.blocks) && t.blocks[i].first == first {
			c.drop(t.blocks[i])
		}
	}
}

// forget drops all of a queue.
func (c *cache) forget(queue uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range uint8(priorities) {
		k := tailKey{queue, p}
		if t := c.tails[k]; t != nil {
			for len(t.blocks) > 0 {
				c.drop(t.blocks[0])
			}
			delete(c.tails, k)
		}
	}
}

func (c *cache) drop(b *cached) {
	c.age.Remove(b.el)
	c.bytes -= int64(len(b.value))
	t := b.tail
	i := t.search(b.first)
	if i == 0 { // the usual case costs nothing
		t.blocks[0] = nil
		t.blocks = t.blocks[1:]
		return
	}
	t.blocks = slices.Delete(t.blocks, i, i+1)
}

func (t *tail) search(first uint64) int {
	i, _ := slices.BinarySearchFunc(t.blocks, first, func(b *cached, s uint64) int {
		switch {
		case b.first < s:
			return -1
		case b.first > s:
			return 1
		}
		return 0
	})
	return i
}
