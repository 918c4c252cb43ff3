package edgehub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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
	maxRuleBytes   = 4 << 20 // of all files together: one record of the store holds them
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

	mu     sync.Mutex
	active int
	loaded time.Time
	faults []string
}

func newRuleFiles(cfg *configs.EdgeHub, st *store.Store, r *router.Router, log *slog.Logger) *ruleFiles {
	return &ruleFiles{dir: cfg.RulesDir, defaultTTL: time.Duration(cfg.Router.DefaultTTL), store: st, router: r, log: log}
}

// start puts the files in force, or the last good ones if they do not compile.
// Only a store that cannot be read is an error.
func (f *ruleFiles) start() error {
	f.seen = f.stamp()
	if f.load() {
		return nil
	}
	value, err := f.store.Get(bucketRules, keyLastGood)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read last good rules: %w", err)
	}
	var files []rules.File
	if err := json.Unmarshal(value, &files); err != nil {
		return fmt.Errorf("read last good rules: %w", err)
	}
	if err := f.use(files); err != nil {
		f.log.Error("last good rules do not compile any more", "err", err)
	}
	return nil
}

// run looks for changes until ctx ends. It compares names, sizes and times, so
// it works on every file system, network ones included.
func (f *ruleFiles) run(ctx context.Context) error {
	tick := time.NewTicker(rulesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if now := f.stamp(); now != f.seen {
				f.seen = now
				f.load()
			}
		}
	}
}

// load reads and compiles the files and swaps them in as a whole. On a mistake
// nothing changes but the status.
func (f *ruleFiles) load() bool {
	files, err := f.read()
	if err == nil {
		err = f.use(files)
	}
	if err != nil {
		f.refuse(err)
		return false
	}
	f.keep(files)
	f.log.Info("rules in force", "rules", f.status().Active)
	return true
}

func (f *ruleFiles) use(files []rules.File) error {
	set, err := rules.Compile(rules.Input{Files: files, TTL: f.defaultTTL})
	if err != nil {
		return err
	}
	if err := f.router.Swap(set); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active, f.loaded = set.Len(), time.Now()
	return nil
}

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

// keep remembers files as the last good ones.
func (f *ruleFiles) keep(files []rules.File) {
	f.mu.Lock()
	f.faults = nil
	f.mu.Unlock()
	value, err := json.Marshal(files)
	if err != nil {
		f.log.Error("encode last good rules", "err", err)
		return
	}
	f.store.Put(func(err error) {
		if err != nil {
			f.log.Error("store last good rules", "err", err)
		}
	}, message.Record{Bucket: bucketRules, Key: keyLastGood, Value: value})
}

// read returns the rule files in the order of their names. No folder is no rules.
func (f *ruleFiles) read() ([]rules.File, error) {
	names, err := f.names()
	if err != nil {
		return nil, fmt.Errorf("rules folder: %w", err)
	}
	if len(names) > maxRuleFiles {
		return nil, fmt.Errorf("rules folder %s holds %d files, want at most %d", f.dir, len(names), maxRuleFiles)
	}
	var files []rules.File
	total := 0
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			return nil, fmt.Errorf("rules folder: %w", err)
		}
		if total += len(data); total > maxRuleBytes {
			return nil, fmt.Errorf("rules folder %s holds more than %s of rules", f.dir, configs.Bytes(maxRuleBytes))
		}
		files = append(files, rules.File{Name: name, Data: data})
	}
	return files, nil
}

func (f *ruleFiles) names() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// stamp changes when a rule file does.
func (f *ruleFiles) stamp() string {
	names, err := f.names()
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(f.dir, name)); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

func (f *ruleFiles) status() client.Rules {
	f.mu.Lock()
	defer f.mu.Unlock()
	return client.Rules{Active: f.active, Loaded: f.loaded, Errors: slices.Clone(f.faults)}
}
