package uplink

import (
	"context"
	"time"
)

const (
	renewRetryMin = time.Second
	never         = 1 << 62
)

// renewIn is when the token made at that time is to be replaced: at 80 % of its
// life, and when that failed, again and again in a quarter of what remains.
func (u *Uplink) renewIn(made time.Time) time.Duration {
	if u.cfg.Key == "" {
		return never
	}
	age := time.Since(made)
	if due := u.cfg.TokenLife * 8 / 10; age < due {
		return due - age
	}
	return max((u.cfg.TokenLife-age)/4, renewRetryMin)
}

// renew replaces old by a session with a new token. The parent drops old when
// the same client id connects again (MQTT 3.1.1, 3.1.4-2); by then nothing is in
// flight on it, so no acknowledgement is lost and nothing is sent twice. If it
// fails, old goes on.
func (u *Uplink) renew(ctx context.Context, old *session) (*session, error) {
	began := time.Now()
	next, err := u.connect(ctx, old.to, func(ctx context.Context) { u.drain(ctx, old) })
	if err != nil {
		u.line.resume(old)
		return nil, err
	}
	u.line.fail(old, errReplaced, false) // only if it would not drain
	u.line.attach(next)
	next.start()
	old.end(errReplaced)
	u.background.Go(old.stop)
	u.set(Connected, func(st *Status) { st.Renewals++ })
	u.log.Debug("token renewed", "peer", next.to.Host, "took", time.Since(began))
	return next, nil
}

// drain lets what is in flight on s arrive and leaves the rest waiting.
func (u *Uplink) drain(ctx context.Context, s *session) {
	t := time.NewTimer(drainTimeout)
	defer t.Stop()
	select {
	case <-u.line.hold():
		u.line.leave()
	case <-t.C:
	case <-s.ended:
	case <-ctx.Done():
	}
}
