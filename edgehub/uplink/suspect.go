package uplink

import "time"

const (
	// strikesNeeded is how often the parent must close the connection on one and
	// the same message, alone in flight, before another one is sent ahead of it.
	strikesNeeded = 5
	// strikesOfGuilty is the same for a source whose last message was given up.
	strikesOfGuilty = 1

	probeWithin = 300 * time.Millisecond // for a message to send ahead of a suspect to come
	probeEvery  = 10 * time.Millisecond  // how often it is looked for
	soonWithin  = 2 * time.Second        // for a connection after one that ended on a suspect

	maxSuspects = 64
	maxGuilty   = 256
)

// source is who published a message; the order within it is kept.
type source struct{ device, module string }

// suspect is what is held against one message.
type suspect struct {
	strikes int // how often the parent closed on it, alone in flight
	tested  int // strikes when a message of its own source was last sent ahead of it
	bare    int // with that many strikes it is sent without proof that the parent is well
	proven  bool
}

// suspicion finds the message on which the parent hangs up. MQTT 3.1.1 has no way
// to refuse a PUBLISH but to close the connection (MQTT 3.1.1, 3.3.5), and one such
// message, of a device that the parent does not know for example, would block all
// behind it for ever. But a parent that hangs up on everything, because its store
// is full or this edge may not publish, must not get good messages buried. So
//
//   - the oldest message in flight when the parent closed is a suspect: from then on
//     it flies alone, and every close on it alone is a strike;
//   - after strikesNeeded strikes it is set aside until the parent has acknowledged
//     something in the same session. If need be the first message of another source
//     in the line, one without strikes before others, is sent ahead of it, alone:
//     the probe. Sources keep their order;
//   - the probe is acknowledged: the parent is well, at that moment. The suspect is
//     sent next, and a close on it counts as proof;
//   - with proof, it is sent first in the session after: a parent that takes a few
//     messages and then closes takes it now. After one more close, and one more
//     proof, it is given up;
//   - the parent closes on a probe as well: it is the parent. Everything is tried
//     again for ever, the suspect and its probes in turn; the strikes stay, the proof
//     does not.
//
// A probe of the suspect's own source is sent only if nothing of another source
// came within probeWithin, and again only after strikesNeeded more strikes. If it is
// acknowledged the suspect is given up without another try: it is never delivered
// then except by an operator's requeue, so the source's order is kept in what is
// delivered. With nothing in the line behind it that the parent takes, a suspect is
// tried for ever: so as many refused messages in a row as the window holds, none of
// another source between them, hold up what is behind them.
//
// The next messages of a source of which one was given up fly alone from the start
// and are set aside after the first strike, and one proof will do, until the parent
// takes one of them.
type suspicion struct {
	suspects map[uint64]*suspect // by sequence
	guilty   map[source]struct{}

	window int  // how many may be in flight; grows from 1 after the parent closed
	soon   bool // the session ended as a step of a trial: the next comes soon

	// Of the session.
	probe   uint64    // the sequence sent ahead of a suspect; 0: none
	behind  uint64    // that suspect's
	well    bool      // the parent has acknowledged something
	since   time.Time // when a suspect began to wait for a probe; zero: none waits
	scanned time.Time // when one was last looked for

	unwell bool // the parent closed on a probe and has acknowledged nothing since
}

func newSuspicion(window int) suspicion {
	return suspicion{
		suspects: make(map[uint64]*suspect), guilty: make(map[source]struct{}), window: window,
	}
}

// begin starts a session.
func (s *suspicion) begin() {
	s.probe, s.behind, s.well, s.since, s.scanned = 0, 0, false, time.Time{}, time.Time{}
}

// alone reports whether nothing else may be in flight with e.
func (s *suspicion) alone(e *entry) bool {
	if s.probe == e.seq {
		return true
	}
	if len(s.suspects)+len(s.guilty) == 0 {
		return false
	}
	_, guilty := s.guilty[e.from]
	return guilty || s.suspects[e.seq] != nil
}

// restricts reports whether fewer than window messages may be in flight.
func (s *suspicion) restricts(window int) bool {
	return s.window < window || len(s.suspects)+len(s.guilty) > 0
}

// ripe reports whether the parent has to be proven well before c is sent.
func (s *suspicion) ripe(c *suspect, from source) bool {
	needed := strikesNeeded
	if _, guilty := s.guilty[from]; guilty {
		needed = strikesOfGuilty
	}
	return c.strikes >= needed && c.strikes != c.bare
}

// accuse notes that the parent closed the connection on e, the oldest in flight,
// and reports whether e is given up.
func (s *suspicion) accuse(e *entry, alone bool) (convicted bool) {
	s.window = 1
	if e.seq == s.probe {
		s.doubt()
	}
	c := s.suspects[e.seq]
	if c == nil {
		if len(s.suspects) >= maxSuspects {
			clear(s.suspects) // left behind by messages that were purged or expired
		}
		c = new(suspect)
		s.suspects[e.seq] = c
	}
	if alone {
		convicted = s.strike(c, e.from)
	}
	if convicted {
		s.convict(e)
	}
	s.soon = convicted || !s.unwell && c.strikes <= strikesNeeded+2
	return convicted
}

// strike counts one against c and reports whether that was the last.
func (s *suspicion) strike(c *suspect, from source) (last bool) {
	_, guilty := s.guilty[from]
	proof := s.well && s.ripe(c, from)
	c.strikes++
	if !proof {
		return false
	}
	last = guilty || c.proven
	c.proven, c.bare = true, c.strikes
	return last
}

// doubt notes that the parent closed on a probe. It is the turn of the one behind
// the probe then: if all others are refused, only that one gets them on.
func (s *suspicion) doubt() {
	s.unwell = true
	for _, c := range s.suspects {
		c.proven = false
	}
	if c := s.suspects[s.behind]; c != nil {
		c.bare = c.strikes
	}
}

func (s *suspicion) convict(e *entry) {
	delete(s.suspects, e.seq)
	if len(s.guilty) >= maxGuilty {
		clear(s.guilty)
	}
	s.guilty[e.from] = struct{}{}
}

// against says how little e is fit to be a probe; 0: nothing is known against it.
func (s *suspicion) against(e *entry) (n int) {
	if c := s.suspects[e.seq]; c != nil {
		n = 1 + c.strikes
	}
	if _, guilty := s.guilty[e.from]; guilty {
		n++
	}
	return n
}
