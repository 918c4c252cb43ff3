package ingress

import (
	"errors"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/message"
)

func numbered(seq, floor uint64, body string) message.Message {
	return message.Message{Device: "leaf", Body: []byte(body), Origin: message.Origin{Device: "edge", Epoch: "e1", Seq: seq, Floor: floor}}
}

// From a backup taken at 50 the edge counts again, up to what it had reached.
func TestRestoredEdgeIsNotToldThatItsMessagesAreThere(t *testing.T) {
	for _, life := range []string{"the same", "snapshot", "stream only"} {
		t.Run(life, func(t *testing.T) {
			c := newCloud(t)
			s := c.open()
			g, stop := c.ingress(s, Config{})
			for seq := uint64(1); seq <= 100; seq++ {
				mustAccept(t, g, numbered(seq, max(seq, 6)-5, fmt.Sprint("old ", seq)))
			}
			if life != "the same" {
				stop()
				cfg := Config{}
				if life == "stream only" {
					cfg.Snapshot = c.dir + "/none"
				}
				g, _ = c.ingress(s, cfg)
			}
			for _, seq := range []uint64{50, 94} {
				errs := wait(t, accept(g, numbered(seq, 50, "new")))
				if len(errs) != 1 || !errors.Is(errs[0], ErrRestored) {
					t.Errorf("sequence %d: %v", seq, errs)
				}
			}
			mustAccept(t, g, numbered(97, 95, "old 97")) // under way when the connection broke
			if life == "the same" {
				if errs := wait(t, accept(g, numbered(98, 95, "new"))); len(errs) != 1 || !errors.Is(errs[0], ErrRestored) {
					t.Errorf("another content: %v", errs)
				}
				mustAccept(t, g, numbered(12, 7, "old 12")) // a late copy from a dead connection
			}
			if e := g.Ledger(Question{}).Entries[0]; e.Stored != 100 || e.Restored < 2 || len(g.Status().Restored) != 1 {
				t.Errorf("%+v %v", e, g.Status().Restored)
			}
			renewed := numbered(1, 1, "new")
			renewed.Origin.Epoch = "e2"
			mustAccept(t, g, renewed)
		})
	}
}

// What keeps its floor down may come as late as it likes, and twice.
func TestLateMessagesOfAnHonestEdgeAreTaken(t *testing.T) {
	c := newCloud(t)
	g, _ := c.ingress(c.open(), Config{})
	var ms []message.Message
	for seq := uint64(3); seq <= 5000; seq++ {
		ms = append(ms, numbered(seq, 2, fmt.Sprint(seq)))
	}
	mustAccept(t, g, ms...)
	mustAccept(t, g, ms[:10]...) // resent, contents long forgotten
	mustAccept(t, g, numbered(2, 2, "late"), numbered(2, 2, "late"))
	mustAccept(t, g, numbered(5001, 5001, "next"))
	if e := g.Ledger(Question{}).Entries[0]; e.Stored != 5000 || e.Duplicates != 11 || e.Restored != 0 {
		t.Errorf("%+v", e)
	}
}

func TestTwoBodiesUnderOneSequenceInOneBatch(t *testing.T) {
	c := newCloud(t)
	g, _ := c.ingress(c.open(), Config{})
	errs := wait(t, accept(g, numbered(1, 1, "a"), numbered(1, 1, "b"), numbered(1, 1, "a")))
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], ErrRestored) || errs[2] != nil {
		t.Errorf("%v", errs)
	}
}
