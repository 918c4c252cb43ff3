package edgehub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/configs"
	"github.com/penstock-io/penstock/router"
	"github.com/penstock-io/penstock/store"
)

const goodRules = "rules:\n  - {name: up, from: devices/*, into: $upstream}\n"

// rulesBench is a rules folder with a store and a router of its own.
type rulesBench struct {
	t   *testing.T
	dir string
	st  *store.Store
	f   *ruleFiles
}

func newRulesBench(t *testing.T) *rulesBench {
	t.Helper()
	b := &rulesBench{t: t, dir: filepath.Join(t.TempDir(), "rules.d")}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	b.st = st
	b.again()
	return b
}

// again makes the loader that the next process would have.
func (b *rulesBench) again() {
	b.t.Helper()
	r, err := router.New(router.Config{}, b.st, func(string) (router.Sink, router.PumpConfig, bool) { return nil, router.PumpConfig{}, false })
	if err != nil {
		b.t.Fatal(err)
	}
	cfg := &configs.EdgeHub{RulesDir: b.dir}
	b.f = newRuleFiles(cfg, b.st, r, slog.New(slog.DiscardHandler))
}

func (b *rulesBench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// follow runs the loader; until waits for a state of it.
func (b *rulesBench) follow() {
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.f.run(ctx) }()
	b.t.Cleanup(func() { cancel(); <-ended })
}

func (b *rulesBench) until(active int, fault string) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		s := b.f.status()
		text := strings.Join(s.Errors, "\n")
		if s.Active == active && (fault == "") == (text == "") && strings.Contains(text, fault) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("%d rules in force, faults %q; want %d and %q", s.Active, text, active, fault)
		}
	}
}

func TestBadRulesWithNothingBeforeThemStopTheStart(t *testing.T) {
	b := newRulesBench(t)
	b.write("a.yaml", "rules:\n  - {name: up, from: devices/*, into: nowhere}\n")
	err := b.f.start()
	if err == nil || !strings.Contains(err.Error(), "a.yaml:2:39") {
		t.Errorf("start over bad rules: %v", err)
	}
}

func TestLastGoodRulesSurviveARestart(t *testing.T) {
	b := newRulesBench(t)
	b.write("a.yaml", goodRules)
	if err := b.f.start(); err != nil {
		t.Fatal(err)
	}
	b.write("a.yaml", "rules: [")
	b.again()
	if err := b.f.start(); err != nil {
		t.Fatal(err)
	}
	if s := b.f.status(); s.Active != 1 || len(s.Errors) == 0 {
		t.Errorf("after a restart over a mistake: %+v", s)
	}
}

// What a copy or a move leaves for a moment must not become the rules.
func TestRulesThatVanishStayInForce(t *testing.T) {
	b := newRulesBench(t)
	b.write("a.yaml", goodRules)
	if err := b.f.start(); err != nil {
		t.Fatal(err)
	}
	b.follow()
	b.write("a.yaml", "")
	b.until(1, "no rules left")
	if err := os.Rename(b.dir, b.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	b.until(1, "rules folder")
	if err := os.Rename(b.dir+"-away", b.dir); err != nil {
		t.Fatal(err)
	}
	b.write("a.yaml", "rules: [] # none, on purpose\n")
	b.until(0, "")
}

func TestRulesAreTakenWhenTheyHaveSettled(t *testing.T) {
	b := newRulesBench(t)
	b.write("a.yaml", goodRules)
	if err := b.f.start(); err != nil {
		t.Fatal(err)
	}
	b.follow()
	two := goodRules + "  - {name: hot, topic: a/b, into: {topic: c}}\n"
	b.write("a.yaml", two)
	b.until(2, "")
	for i := range 500 {
		b.write(fmt.Sprintf("%03d.yaml", i), fmt.Sprintf("rules:\n  - {name: r%d, topic: a/b, into: {topic: c}}\n", i))
	}
	b.until(502, "")
}

func TestNoRulesFolderAtFirst(t *testing.T) {
	b := newRulesBench(t)
	if err := os.Remove(b.dir); err != nil {
		t.Fatal(err)
	}
	if err := b.f.start(); err != nil {
		t.Fatal(err)
	}
	b.follow()
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.write("a.yaml", goodRules)
	b.until(1, "")
}

func TestTooManyRulesAreRefused(t *testing.T) {
	b := newRulesBench(t)
	pad := "# " + strings.Repeat("x", 900<<10) + "\n"
	for i := range 3 {
		b.write(fmt.Sprint(i, ".yaml"), pad)
	}
	if _, err := b.f.read(true); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
