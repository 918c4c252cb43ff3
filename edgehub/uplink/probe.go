package uplink

import "time"

// probe sees to it that the parent is known to be well when a suspect's time has
// come: it moves another entry ahead of it. It returns how soon to ask again, 0 if
// the first entry may fly.
func (l *line) probe(now time.Time) (again time.Duration) {
	s := &l.suspect
	e := l.at(0)
	c := s.suspects[e.seq]
	if l.flying > 0 || s.well || c == nil || e.seq == s.probe || !s.ripe(c, e.from) {
		return 0
	}
	if s.since.IsZero() {
		s.since = now
	}
	if wait := probeEvery - now.Sub(s.scanned); wait > 0 {
		return wait
	}
	s.scanned = now
	late := now.Sub(s.since) >= probeWithin
	i := l.candidate(late)
	switch {
	case i > 0:
		s.behind = e.seq
		l.toFront(i)
		s.probe = l.at(0).seq
	case !late:
		return probeEvery
	}
	s.since = time.Time{}
	return 0
}

// candidate returns the index of the entry to send ahead of the first one, 0 for
// none. A probe that others are better for is taken only when it is late.
func (l *line) candidate(late bool) int {
	s, first := &l.suspect, l.at(0)
	seen := map[source]struct{}{first.from: {}}
	best, fewest, own := 0, 0, 0
	for i := 1; i < l.n; i++ {
		e := l.at(i)
		if own == 0 && e.from == first.from && e.ctx.Err() == nil {
			own = i
		}
		if _, ok := seen[e.from]; ok {
			continue
		}
		seen[e.from] = struct{}{}
		n := s.against(e)
		if e.ctx.Err() != nil || best > 0 && n >= fewest {
			continue
		}
		if best, fewest = i, n; n == 0 {
			return i
		}
	}
	switch c := s.suspects[first.seq]; {
	case !late:
		return 0
	case best > 0:
		return best
	case own > 0 && c.strikes-c.tested >= strikesNeeded:
		c.tested = c.strikes
		return own
	}
	return 0
}

// toFront makes entry i the first.
func (l *line) toFront(i int) {
	e := *l.at(i)
	for ; i > 0; i-- {
		*l.at(i) = *l.at(i - 1)
	}
	*l.at(0) = e
}

// acquit notes that the parent has acknowledged e. If e was sent ahead of a suspect
// of its own source, that one is taken out of the line and returned.
func (l *line) acquit(e *entry) (guilty entry, convicted bool) {
	s := &l.suspect
	s.well, s.unwell = true, false
	s.window = min(2*s.window, len(l.ring))
	delete(s.suspects, e.seq)
	delete(s.guilty, e.from)
	if e.seq != s.probe {
		return entry{}, false
	}
	s.probe = 0
	if l.n == 0 || l.at(0).seq != s.behind || l.at(0).from != e.from {
		return entry{}, false
	}
	guilty = *l.at(0)
	delete(s.suspects, guilty.seq)
	l.pop()
	return guilty, true
}

// soon reports whether the session ended as a step of a suspect's trial.
func (l *line) soon() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.suspect.soon
}
