package quickstart

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/daemon"
)

// TestMain is also the hubs' main: a child is this program with a hub's name as
// its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "edgehub":
			os.Exit(daemon.EdgeHub().Main(os.Args[2:], os.Stderr))
		case "cloudhub":
			os.Exit(daemon.CloudHub().Main(os.Args[2:], os.Stderr))
		}
	}
	os.Exit(m.Run())
}

var anyPorts = Addresses{Edge: "127.0.0.1:0", Cloud: "127.0.0.1:0", API: "127.0.0.1:0", NATS: "127.0.0.1:0"}

// eventually polls a summary until f holds.
func eventually(t *testing.T, p *Pipeline, what string, f func(s *Summary) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := p.Summary(ctx)
		if err == nil && f(&s) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not %s: %+v, %v", what, s, err)
		}
	}
}

// TestKeys does what a user does: cut the uplink, kill the edge hub, restore.
func TestKeys(t *testing.T) {
	p, err := Start(t.Context(), Options{State: t.TempDir(), Addresses: anyPorts, Rate: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	eventually(t, p, "in the cloud", func(s *Summary) bool { return s.CloudReceived > 0 })
	if err := p.ToggleUplink(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := p.Status(t.Context()); err != nil || s.Uplink.State != "cut" {
		t.Errorf("uplink %+v, %v", s.Uplink, err)
	}
	eventually(t, p, "queued", func(s *Summary) bool { return s.Queued > 20 })
	if err := p.KillEdge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(); err != nil {
		t.Errorf("after a kill: %v", err)
	}
	accepted := uint64(0)
	eventually(t, p, "sending again", func(s *Summary) bool {
		if accepted == 0 {
			accepted = s.Accepted
		}
		return s.Accepted > accepted
	})
	sum, err := p.Finish(t.Context(), 30*time.Second)
	if err != nil || !sum.Balanced || sum.Queued != 0 || sum.CloudReceived < 20 {
		t.Errorf("in the end: %+v, %v", sum, err)
	}
}

// TestCheckTellsOfAHubThatIsGone: with what it said last.
func TestCheckTellsOfAHubThatIsGone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "edgehub.yaml"), []byte("nosuch: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := child{name: "edgehub", exe: []string{os.Args[0]}, dir: dir}
	if err := c.ended(); err != nil {
		t.Errorf("before it was started: %v", err)
	}
	if err := c.start(os.O_TRUNC); err != nil {
		t.Fatal(err)
	}
	<-c.done
	if err := c.ended(); err == nil || !strings.Contains(err.Error(), `edgehub.yaml:1:1: unknown field "nosuch"`) {
		t.Errorf("says %v", err)
	}
	c.stop(os.Interrupt, time.Second) // of what has ended: nothing
}

func TestLastWords(t *testing.T) {
	c := child{name: "edgehub", dir: t.TempDir()}
	for text, want := range map[string]string{
		"":             "it said nothing",
		"one":          "one",
		"one\ntwo\n\n": "two",
		"level=INFO\nedgehub: bad.yaml:1:1: unknown field\n> 1 | x\n      ^\n": "edgehub: bad.yaml:1:1: unknown field",
		"panic: no\n\ngoroutine 1:\nmain.main()\n":                             "panic: no",
		strings.Repeat("x\n", maxTail) + "the end\n":                           "the end",
	} {
		if err := os.WriteFile(c.logFile(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := c.lastWords(); got != want {
			t.Errorf("last words %q, want %q", got, want)
		}
	}
}

// TestEdgeSocket: a state folder may lie deep; a socket's path may not be long.
func TestEdgeSocket(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if s := EdgeSocket(deep); len(s) > maxSocket || s != EdgeSocket(deep) || s == EdgeSocket(deep+"er") {
		t.Errorf("socket %s", s)
	}
}
