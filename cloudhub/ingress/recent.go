package ingress

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/penstock-io/penstock/message"
)

// digest stands for a message that carries an id and no origin: its kind, device,
// module, output, topic and message id, the same that an edge hub goes by. It is
// cut from SHA-256: one device must not be able to make another's messages look
// repeated. The zero digest is "none".
type digest [16]byte

func digestOf(m *message.Message) digest {
	if m.Origin.Seq != 0 {
		return digest{}
	}
	id := m.ID()
	if id == "" {
		return digest{}
	}
	b := append(make([]byte, 0, 256), byte(m.Kind))
	for _, s := range [...]string{m.Device, m.Module, m.Output, m.Topic, id} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return digest(sum[:16])
}

// recent remembers the messages with an id of a window of time, at most a number
// of them: what a device that speaks to the cloud directly sends again inside
// the window is recognised. The oldest are forgotten first.
type recent struct {
	window time.Duration
	limit  int
	at     map[digest]int64 // when stored, Unix milliseconds
	ring   []digest         // in the order they came, once limit is reached from next on
	next   int
}

func newRecent(window time.Duration, limit int) *recent {
	return &recent{window: window, limit: max(limit, 1), at: map[digest]int64{}}
}

func (r *recent) has(d digest, now int64) bool {
	at, ok := r.at[d]
	return ok && now-at < r.window.Milliseconds()
}

func (r *recent) add(d digest, at int64) {
	_, known := r.at[d]
	r.at[d] = at
	switch {
	case known: // it keeps its place, and may leave early
	case len(r.ring) < r.limit:
		r.ring = append(r.ring, d)
	default:
		delete(r.at, r.ring[r.next])
		r.ring[r.next] = d
		r.next = (r.next + 1) % r.limit
	}
}
