package uplink

import (
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/router"
)

func newTestSession(l *line) *session {
	return &session{line: l, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

func push(t *testing.T, l *line, seqs ...uint64) (answers chan error) {
	t.Helper()
	answers = make(chan error, len(seqs))
	for _, seq := range seqs {
		l.push(entry{ctx: t.Context(), seq: seq, done: func(err error) { answers <- err }})
	}
	return answers
}

func TestHeldLineSendsNothingAndTellsWhenItIsEmpty(t *testing.T) {
	l := newLine(8)
	s := newTestSession(l)
	l.attach(s)
	answers := push(t, l, 1, 2, 3)
	l.take(s)
	idle := l.hold()
	if _, _, ok := l.take(s); ok {
		t.Fatal("a held line let a message go")
	}
	if l.leave() {
		t.Fatal("left with a message in flight")
	}
	select {
	case <-idle:
		t.Fatal("idle with a message in flight")
	default:
	}
	l.ack(s)
	receive(t, "idle", idle)
	if !l.leave() {
		t.Fatal("cannot leave an idle line")
	}
	s.end(io.EOF)
	next := newTestSession(l)
	l.attach(next)
	for range 2 {
		if _, _, ok := l.take(next); !ok {
			t.Fatal("what waited is gone")
		}
		l.ack(next)
	}
	for range 3 {
		if err := receive(t, "answer", answers); err != nil {
			t.Errorf("answer: %v", err)
		}
	}
}

// Whatever happens, each entry is answered once, with nil only after its own
// acknowledgement, and entries fly in the order in which they came.
func TestLineAnswersEveryEntryOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLine(4)
		var s *session
		answered, acked, flight := map[uint64]int{}, map[uint64]bool{}, []uint64{}
		var seq, last uint64
		attach := func() { s = newTestSession(l); l.attach(s) }
		attach()
		rt.Repeat(map[string]func(*rapid.T){
			"push": func(rt *rapid.T) {
				if len(l.slots) == cap(l.slots) {
					return
				}
				seq++
				n := seq
				l.push(entry{ctx: t.Context(), seq: n, topic: string(rune(n)), done: func(err error) {
					answered[n]++
					if (err == nil) != acked[n] || err != nil && !errors.Is(err, router.ErrUnavailable) {
						rt.Fatalf("entry %d was answered with %v", n, err)
					}
				}})
			},
			"take": func(rt *rapid.T) {
				if topic, _, ok := l.take(s); ok {
					n := uint64([]rune(topic)[0])
					if n <= last {
						rt.Fatalf("entry %d flies after %d", n, last)
					}
					last, flight = n, append(flight, n)
				}
			},
			"ack": func(*rapid.T) {
				if len(flight) > 0 {
					acked[flight[0]], flight = true, flight[1:]
				}
				l.ack(s)
			},
			"lose": func(*rapid.T) {
				s.end(errSilent)
				flight = nil
				attach()
			},
			"replace": func(*rapid.T) {
				l.hold()
				if !l.leave() {
					l.resume(s)
					return
				}
				s.end(errReplaced)
				attach()
			},
			"": func(rt *rapid.T) {
				if n, _ := l.progress(); int(n) != len(acked) {
					rt.Fatalf("%d acknowledged, want %d", n, len(acked))
				}
			},
		})
		s.end(errStopped)
		for n := uint64(1); n <= seq; n++ {
			if answered[n] != 1 {
				rt.Fatalf("entry %d was answered %d times", n, answered[n])
			}
		}
	})
}
