package edgehub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock/configs"
	"github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/router"
	"github.com/penstock-io/penstock/rules"
	"github.com/penstock-io/penstock/store"
)

const (
	rulesEvery     = time.Second
	maxRuleFiles   = 1000
	maxRuleBytes   = 2 << 20 // of all files together: as JSON, one record of the store holds them
	bucketRules    = "rules"
	keyLastGood    = "last-good"
	maxShownFaults = 50
)

// ruleFiles keeps the rules in force equal to the files of the rules folder, as
// far as those compile. The last good files are kept in the store, so that a hub
// that restarts over a mistake goes on with what it had.
type ruleFiles struct {
	dir        string
	defaultTTL time.Duration
	store      *store.Store
	router     *router.Router
	log        *slog.Logger

	seen string // the folder's state at the last look
	used string // …and when its files were last read

	mu     sync.Mutex
	active int
	loaded time.Time
	faults []string
}

func newRuleFiles(cfg *configs.EdgeHub, st *store.Store, r *router.Router, log *slog.Logger) *ruleFiles {
	return &ruleFiles{dir: cfg.RulesDir, defaultTTL: time.Duration(cfg.Router.DefaultTTL), store: st, router: r, log: log}
}

// start puts the files in force, or the last good ones if those do not compile.
// A mistake with nothing good to fall back on is an error: a hub without its
// rules would acknowledge messages that it then gives to nobody.
func (f *ruleFiles) start() error {
	before, err := f.lastGood()
	if err != nil {
		return err
	}
	f.seen = f.stamp()
	f.used = f.seen
	fault := f.load(before == nil)
	if fault == nil {
		return nil
	}
	if before == nil {
		return fmt.Errorf("rules do not compile, and there are no earlier ones to go on with:\n%w", fault)
	}
	f.refuse(fault)
	if err := f.use(before); err != nil {
		return fmt.Errorf("neither the rules nor the last good ones compile:\n%w\n%w", fault, err)
	}
	return nil
}

// run looks for changes until ctx ends. It compares names, sizes and times, so
// it works on every file system, network ones included. A change is taken when
// the folder looked the same twice: a copy under way is not a rule set.
func (f *ruleFiles) run(ctx context.Context) error {
	tick := time.NewTicker(rulesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := f.stamp()
		if now != f.seen {
			f.seen = now
			continue
		}
		if now == f.used {
			continue
		}
		f.used = now
		if err := f.load(false); err != nil {
			f.refuse(err)
		}
	}
}

// load reads and compiles the files and swaps them in as a whole. On an error
// nothing has changed. first allows a folder that is missing or empty.
func (f *ruleFiles) load(first bool) error {
	files, err := f.read(first)
	if err != nil {
		return err
	}
	if f.stamp() != f.used {
		f.used = "" // changed while it was read: look again
		return nil
	}
	if err := f.use(files); err != nil {
		return err
	}
	f.keep(files)
	f.log.Info("rules in force", "rules", f.status().Active)
	return nil
}

func (f *ruleFiles) use(files []rules.File) error {
	set, err := rules.Compile(rules.Input{Files: files, TTL: f.defaultTTL})
	if err != nil {
		return err
	}
	f.mu.Lock()
	had := f.active
	f.mu.Unlock()
	if set.Len() == 0 && had > 0 && !slices.ContainsFunc(files, saysNone) {
		return fmt.Errorf("no rules left in %s: if that is meant, say so with a file that holds `rules: []`", f.dir)
	}
	if err := f.router.Swap(set); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active, f.loaded = set.Len(), time.Now()
	return nil
}

// saysNone reports whether a file states that there are no rules.
func saysNone(f rules.File) bool { return bytes.Contains(f.Data, []byte("rules: []")) }

func (f *ruleFiles) refuse(err error) {
	lines := strings.Split(err.Error(), "\n")
	if len(lines) > maxShownFaults {
		lines = append(lines[:maxShownFaults], fmt.Sprintf("… and %d more", len(lines)-maxShownFaults))
	}
	f.mu.Lock()
	f.faults = lines
	f.mu.Unlock()
	f.log.Error("rules not taken, the last good ones stay in force", "err", lines[0], "faults", len(lines))
}

// keep remembers files as the last good ones, durably when it returns.
func (f *ruleFiles) keep(files []rules.File) {
	f.mu.Lock()
	f.faults = nil
	f.mu.Unlock()
	value, err := json.Marshal(files)
	if err != nil {
		f.log.Error("encode last good rules", "err", err)
		return
	}
	stored := make(chan error, 1)
	f.store.Put(func(err error) { stored <- err }, message.Record{Bucket: bucketRules, Key: keyLastGood, Value: value})
	if err := <-stored; err != nil {
		f.log.Error("store last good rules", "err", err)
	}
}

// lastGood returns what keep remembered, nil if there is nothing.
func (f *ruleFiles) lastGood() (files []rules.File, err error) {
	value, err := f.store.Get(bucketRules, keyLastGood)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		files = []rules.File{}
		err = json.Unmarshal(value, &files)
	}
	if err != nil {
		return nil, fmt.Errorf("read last good rules: %w", err)
	}
	return files, nil
}

// read returns the rule files in the order of their names.
func (f *ruleFiles) read(first bool) ([]rules.File, error) {
	files, err := rules.ReadDir(os.DirFS(f.dir), ".")
	if first && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rules folder %s: %w", f.dir, err)
	}
	total := 0
	for _, file := range files {
		total += len(file.Data)
	}
	if len(files) > maxRuleFiles || total > maxRuleBytes {
		return nil, fmt.Errorf("rules folder %s holds %d files with %s, want at most %d with %s",
			f.dir, len(files), configs.Bytes(total), maxRuleFiles, configs.Bytes(maxRuleBytes))
	}
	return files, nil
}

// stamp changes when a rule file, or the folder, does.
func (f *ruleFiles) stamp() string {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

func (f *ruleFiles) status() client.Rules {
	f.mu.Lock()
	defer f.mu.Unlock()
	return client.Rules{Active: f.active, Loaded: f.loaded, Errors: slices.Clone(f.faults)}
}
