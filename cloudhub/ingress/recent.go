package ingress

import (
	"time"

	"github.com/penstock-io/penstock/message"
)

// maxIDLength bounds the message ids that are remembered; a longer one is not
// recognised when it comes again.
const maxIDLength = 256

// recent remembers the message ids of a window of time, at most a number of
// them: what a device that speaks to the cloud directly sends again inside the
// window is recognised. The oldest are forgotten first.
type recent struct {
	window time.Duration
	keys   map[string]int64 // when stored, Unix milliseconds
	ring   []string         // the keys in the order they came
	next   int
}

func newRecent(window time.Duration, limit int) *recent {
	return &recent{window: window, keys: map[string]int64{}, ring: make([]string, max(limit, 1))}
}

// key is what makes a message without origin recognisable, or "".
func idKey(device, module, id string) string {
	if id == "" || len(id) > maxIDLength {
		return ""
	}
	return device + "\x00" + module + "\x00" + id
}

func messageKey(m *message.Message) string {
	if m.Origin.Seq != 0 {
		return ""
	}
	return idKey(m.Device, m.Module, m.ID())
}

func (r *recent) has(key string, now int64) bool {
	at, ok := r.keys[key]
	return ok && now-at < r.window.Milliseconds()
}

func (r *recent) add(key string, at int64) {
	if _, ok := r.keys[key]; ok {
		r.keys[key] = at
		return
	}
	delete(r.keys, r.ring[r.next])
	r.ring[r.next] = key
	r.keys[key] = at
	r.next = (r.next + 1) % len(r.ring)
}
