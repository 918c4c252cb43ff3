package uplink

import (
	"context"
	"sync"
	"time"
)

// entry is one delivery on its way to the parent.
type entry struct {
	ctx   context.Context
	seq   uint64
	from  source
	topic string
	body  []byte
	done  func(error)
}

// size is what the entry's PUBLISH packet takes on the wire, nearly.
func (e *entry) size() int { return len(e.topic) + len(e.body) + 9 }

// line holds the deliveries that are not answered yet, oldest first: those in
// flight, then those waiting to be sent. It outlives sessions, because a session
// that is replaced in good order leaves the waiting ones to its successor. Every
// entry leaves it exactly once and is answered by whoever took it out, outside
// of the lock.
type line struct {
	now   func() time.Time
	slots chan struct{} // one per entry: bounds the line and lets callers wait for a place

	mu     sync.Mutex
	ring   []entry
	head   int // index of the oldest
	n      int // entries held
	flying int // of which in flight

	owner *session      // may take and acknowledge; nil: nobody
	open  bool          // takes new entries
	up    chan struct{} // closed while open
	held  bool          // nothing more may be sent for now
	idle  chan struct{} // while held: closed when nothing is in flight

	acked   uint64 // entries acknowledged in all
	suspect suspicion
}

func newLine(window int) *line {
	return &line{
		now: time.Now, slots: make(chan struct{}, window), ring: make([]entry, window), up: make(chan struct{}),
		suspect: newSuspicion(window),
	}
}

func (l *line) at(i int) *entry { return &l.ring[(l.head+i)%len(l.ring)] }

// push adds e to the end once there is a place for it, or answers it. Between two
// sessions in which a message is tried it waits a little for the second one.
func (l *line) push(e entry) {
	select {
	case l.slots <- struct{}{}:
	case <-e.ctx.Done():
		e.done(unavailable(e.ctx.Err()))
		return
	}
	l.mu.Lock()
	if up := l.up; !l.open && l.suspect.soon {
		l.mu.Unlock()
		came := await(up, e.ctx.Done(), soonWithin)
		l.mu.Lock()
		l.suspect.soon = came && l.suspect.soon
	}
	if !l.open {
		l.mu.Unlock()
		l.answer(e.done, unavailable(errNoConnection))
		return
	}
	*l.at(l.n) = e
	l.n++
	l.owner.wakeUp()
	l.mu.Unlock()
}

// await waits for c and reports false if stop ends or the time passes first.
func await(c, stop <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-stop:
	case <-t.C:
	}
	return false
}

// answer gives the entry's place free and its caller the outcome.
func (l *line) answer(done func(error), err error) {
	<-l.slots
	done(err)
}

// next returns the size of the entry that s may send now, and how soon to ask
// again if it is waiting for another one to send first; 0: when woken.
func (l *line) next(s *session) (size int, again time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mayFly(s) {
		return 0, 0, false
	}
	if again = l.probe(l.now()); again > 0 {
		return 0, again, false
	}
	return l.at(l.flying).size(), 0, true
}

// take puts the next entry in flight. An entry whose context has ended is taken
// out and answered instead: what a caller gave up on must not overtake what it
// delivers again.
func (l *line) take(s *session) (topic string, body []byte, ok bool) {
	l.mu.Lock()
	for l.mayFly(s) {
		e := l.at(l.flying)
		err := e.ctx.Err()
		if err == nil {
			l.flying++
			topic, body, ok = e.topic, e.body, true
			break
		}
		done := e.done
		l.remove(l.flying)
		l.mu.Unlock()
		l.answer(done, unavailable(err))
		l.mu.Lock()
	}
	l.mu.Unlock()
	return topic, body, ok
}

func (l *line) mayFly(s *session) bool {
	if l.owner != s || l.held || l.flying >= l.n {
		return false
	}
	return l.flying == 0 || l.flying < l.suspect.window && !l.suspect.alone(l.at(0)) && !l.suspect.alone(l.at(l.flying))
}

// remove takes out entry i by moving the older ones up.
func (l *line) remove(i int) {
	for ; i > 0; i-- {
		*l.at(i) = *l.at(i - 1)
	}
	l.pop()
}

func (l *line) pop() {
	*l.at(0) = entry{}
	l.head = (l.head + 1) % len(l.ring)
	l.n--
}

// ack takes out the oldest entry, which s has had acknowledged, and answers it.
func (l *line) ack(s *session) {
	l.mu.Lock()
	if l.owner != s || l.flying == 0 {
		l.mu.Unlock()
		return
	}
	e := *l.at(0)
	l.pop()
	l.flying--
	l.acked++
	if l.suspect.restricts(len(l.ring)) {
		s.wakeUp()
	}
	guilty, convicted := l.acquit(&e)
	if l.held && l.flying == 0 {
		close(l.idle)
	}
	l.mu.Unlock()
	l.answer(e.done, nil)
	if convicted {
		l.answer(guilty.done, hangsUp(errHungUp))
	}
}

// hold stops s from sending; the channel closes when nothing is in flight.
func (l *line) hold() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.idle = true, make(chan struct{})
	if l.flying == 0 {
		close(l.idle)
	}
	return l.idle
}

// leave takes the line from its owner, whose end no longer matters to it, if
// nothing is in flight; it is still open.
func (l *line) leave() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying > 0 || !l.open {
		return false
	}
	l.owner = noSession
	return true
}

// resume undoes hold and leave.
func (l *line) resume(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == noSession {
		l.owner = s
	}
	l.held = false
	s.wakeUp()
}

// attach makes s the owner and opens the line.
func (l *line) attach(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owner, l.held = s, false
	l.suspect.begin()
	if !l.open {
		l.open = true
		close(l.up)
	}
	s.wakeUp()
}

// fail closes the line if s owns it and answers every entry, oldest first. When
// it returns, nothing of s is left. byPeer says that the parent ended s: it may be
// the answer to the oldest in flight.
func (l *line) fail(s *session, cause error, byPeer bool) {
	l.mu.Lock()
	if l.owner != s || !l.open {
		l.mu.Unlock()
		return
	}
	l.owner, l.open, l.held = nil, false, false
	l.up = make(chan struct{})
	convicted := false
	l.suspect.soon = false
	if l.flying > 0 && byPeer {
		convicted = l.suspect.accuse(l.at(0), l.flying == 1)
	}
	left := make([]entry, 0, l.n)
	for l.n > 0 {
		left = append(left, *l.at(0))
		l.pop()
	}
	l.flying = 0
	l.mu.Unlock()

	err := unavailable(cause)
	for i := range left {
		if i == 0 && convicted {
			l.answer(left[i].done, hangsUp(cause))
			continue
		}
		l.answer(left[i].done, err)
	}
}

// available returns a channel that is closed while the line is open.
func (l *line) available() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// progress returns the entries acknowledged so far and those in flight.
func (l *line) progress() (acked uint64, flying int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.flying
}
