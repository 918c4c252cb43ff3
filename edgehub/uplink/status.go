package uplink

import (
	"context"
	"errors"
	"strings"
	"time"
)

// State of the link.
type State string

const (
	Connected  State = "connected"
	Connecting State = "connecting" // an attempt is being made
	Down       State = "down"       // waiting for the next attempt, or not running
	Cut        State = "cut"        // by the operator, until Restore
)

// Status is a picture of the link for people and metrics.
type Status struct {
	State       State     `json:"state"`
	Address     string    `json:"address,omitempty"` // in use, or being tried
	Since       time.Time `json:"since"`             // of State
	LastError   string    `json:"last_error,omitempty"`
	InFlight    int       `json:"in_flight"`
	Sent        uint64    `json:"sent"`       // acknowledged by the parent
	Reconnects  uint64    `json:"reconnects"` // sessions after the first; renewals are not counted
	Renewals    uint64    `json:"renewals"`
	NextAttempt time.Time `json:"next_attempt,omitzero"` // when Down
}

// enter changes the state.
func (s *Status) enter(to State) {
	if s.State != to {
		s.State, s.Since = to, time.Now()
	}
	s.NextAttempt = time.Time{}
}

// Status returns the present state. Sent and InFlight are of the same moment.
func (u *Uplink) Status() Status {
	u.mu.Lock()
	s := u.status
	u.mu.Unlock()
	s.Sent, s.InFlight = u.line.progress()
	return s
}

// Cut closes the connection and keeps it closed until Restore. What is not
// acknowledged is answered with router.ErrUnavailable before long.
func (u *Uplink) Cut() {
	u.mu.Lock()
	u.cut = true
	u.status.enter(Cut)
	u.interrupt(errCut)
	u.mu.Unlock()
	signal(u.poke)
}

// Restore ends Cut; an attempt to connect follows at once.
func (u *Uplink) Restore() {
	u.mu.Lock()
	u.cut = false
	u.mu.Unlock()
	signal(u.poke)
}

// untilRestored waits while the link is cut and reports whether to go on.
func (u *Uplink) untilRestored(ctx context.Context) bool {
	for {
		u.mu.Lock()
		cut := u.cut
		u.mu.Unlock()
		if !cut {
			return ctx.Err() == nil
		}
		u.backoff.Reset()
		select {
		case <-u.poke:
		case <-ctx.Done():
			return false
		}
	}
}

// set enters a state, unless the operator cut the link meanwhile, and lets f
// change the rest.
func (u *Uplink) set(to State, f func(*Status)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cut {
		to = Cut
	}
	u.status.enter(to)
	f(&u.status)
}

func (u *Uplink) connected(s *session) {
	u.set(Connected, func(st *Status) {
		st.Address, st.LastError = s.to.String(), ""
		if u.established {
			st.Reconnects++
		}
		u.established = true
	})
	u.log.Info("connected to the parent", "peer", s.to.Host)
	u.line.attach(s)
	s.start()
}

func (u *Uplink) lost(ctx context.Context, s *session) {
	if ctx.Err() != nil { // on purpose
		u.set(Down, func(*Status) {})
		return
	}
	u.set(Down, func(st *Status) { st.LastError = s.cause.Error() })
	u.log.Warn("lost the parent", "peer", s.to.Host, "err", s.cause)
}

// isSilence tells a parent that does not answer from one that hung up. Paho has
// no sentinel for a missing PINGRESP.
func isSilence(err error) bool {
	return errors.Is(err, errSilent) || strings.Contains(err.Error(), "pingresp not received")
}
