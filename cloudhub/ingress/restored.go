package ingress

import (
	"fmt"
	"hash/maphash"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

// An edge hub whose store was restored from a backup counts again from where the
// backup stood, under the same epoch: its new messages carry sequences that the
// stream holds already, for others. To acknowledge them as duplicates would lose
// them. Two signs give such a hub away, and neither can be seen of an honest one
// that still waits for an answer.
//
// Below the floor. A floor F says that every sequence below F is settled on the
// edge's disk, and that none of them will be sent again. So as long as a message
// s is not settled, no message that states a floor above s exists. Once one has
// come, whatever is below it is settled: nobody waits for its answer, however
// late priorities and lanes brought it, however often the connection broke, and
// whether the same connection or another one carries it. That a floor lags only
// makes the sign come later. What may honestly come below the floor is the late
// copy of a message on a connection that the edge has given up: to refuse it
// harms nobody, and if its content is known it is an ordinary duplicate.
//
// Another content. A message that is sent again has the publisher and the body
// it had. The newest maxContents messages of each epoch are remembered by a
// digest of these two, which covers what can be under way when the edge's floor
// lags by its window only. Properties are not compared: another version of the
// edge may write them differently.
//
// What escapes both: a hub restored to a state above the highest floor it had
// stated, whose repeated sequences are older than maxContents or than this
// process. That takes a backup newer than the edge's oldest undelivered message.
const maxContents = 1024

// history remembers digests of the newest messages stored.
type history struct {
	ring []content
	next int
}

type content struct{ seq, sum uint64 }

var contentSeed = maphash.MakeSeed()

func contentOf(m *message.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(contentSeed)
	for _, s := range [...]string{m.Device, m.Module} {
		_, _ = h.WriteString(s)
		_ = h.WriteByte(0)
	}
	_, _ = h.Write(m.Body)
	return h.Sum64()
}

func (h *history) add(seq, sum uint64) {
	if len(h.ring) < maxContents {
		h.ring = append(h.ring, content{seq, sum})
		return
	}
	h.ring[h.next] = content{seq, sum}
	h.next = (h.next + 1) % maxContents
}

// compare reports whether the content of seq is remembered, and whether it is sum.
func (h *history) compare(seq, sum uint64) (known, same bool) {
	for _, c := range h.ring {
		if c.seq == seq {
			return true, c.sum == sum
		}
	}
	return false, false
}

// judge decides about a message of a known epoch when nothing of its
// chunk stands before it; open: it is to be stored.
func (g *Ingress) judge(s *source, m *message.Message) (fate, error) {
	o := m.Origin
	has, below := s.has(o.Seq), o.Seq < s.floor
	if !has && !below {
		if !g.admits(s, o) {
			return refused, fmt.Errorf("store message %s: %w", stream.OriginText(o), ErrScattered)
		}
		return open, nil
	}
	known, same := false, false
	if has {
		known, same = s.contents.compare(o.Seq, contentOf(m))
	}
	if same || !known && !below {
		return duplicate, nil
	}
	return refused, g.suspect(s, o, below)
}

// suspect counts the refusal of o and words it; the first of a source is logged.
func (g *Ingress) suspect(s *source, o message.Origin, below bool) error {
	g.index.mu.Lock()
	s.restored++
	first, floor := s.restored == 1, s.floor
	g.index.mu.Unlock()
	why := "has another body than the message stored under this sequence"
	if below {
		why = fmt.Sprintf("is below %d, under which the edge said all was settled", floor)
	}
	err := fmt.Errorf("store message %s: it %s: %w", stream.OriginText(o), why, ErrRestored)
	if first {
		g.log.Error("edge hub counts sequences again, nothing it sends under them is taken", "device", o.Device, "err", err)
	}
	return err
}
