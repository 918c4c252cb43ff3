package store

import "sync"

// ruleTable gives rule names the numbers that blocks hold. Numbers are dense
// from 0 and are never given up.
type ruleTable struct {
	mu    sync.RWMutex
	ids   map[string]uint32
	names []string
	saved int // names on disk; only the writer changes it
}

func (t *ruleTable) id(name string) uint32 {
	t.mu.RLock()
	id, ok := t.ids[name]
	t.mu.RUnlock()
	if ok {
		return id
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok = t.ids[name]; ok {
		return id
	}
	id = uint32(len(t.names))
	t.ids[name] = id
	t.names = append(t.names, name)
	return id
}

func (t *ruleTable) name(id uint32) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if int(id) < len(t.names) {
		return t.names[id]
	}
	return ""
}

// wrote counts n more names as saved.
func (t *ruleTable) wrote(n int) {
	t.mu.Lock()
	t.saved += n
	t.mu.Unlock()
}

// unsaved returns the names that are not on disk yet and the first one's number.
func (t *ruleTable) unsaved() (first int, names []string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.saved, t.names[t.saved:len(t.names):len(t.names)]
}
