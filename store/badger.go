package store

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const (
	memTableSize = 8 << 20
	// valueThreshold: smaller blocks stay in the LSM tree, where a commit has one
	// file to sync; larger ones are written once, to the value log, and die with
	// their file.
	valueThreshold = 32 << 10
	// txnBytes and txnEntries are Badger's limits of one transaction (15 % of a
	// memtable, and that in skip list nodes of 96 bytes) with some room left.
	txnBytes   = memTableSize*15/100 - 64<<10
	txnEntries = memTableSize*15/100/96 - 512
)

// badgerOptions is the edge profile: about 65 MB of anonymous memory under load,
// few file descriptors, one sync policy. Every option that matters is set here.
func badgerOptions(dir string, log badger.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(log).
		WithSyncWrites(true).                              // accepted means on disk (P1)
		WithDetectConflicts(false).                        // there is one writer
		WithNumVersionsToKeep(1).                          // nobody reads the past
		WithMetricsEnabled(false).                         // process-wide expvars; Stats has ours
		WithCompression(options.None).                     // bodies are often compressed; saves the block cache
		WithBlockCacheSize(0).                             // tables are memory-mapped: the page cache is the cache
		WithIndexCacheSize(0).                             // indexes of a few small tables stay in memory
		WithMemTableSize(memTableSize).                    // default 64 MiB each
		WithNumMemtables(2).                               // one being written, one being flushed
		WithNumLevelZeroTables(2).                         // compact early: little garbage, short reads
		WithNumLevelZeroTablesStall(6).                    // then slow the writer instead of growing
		WithNumCompactors(2).                              // the least Badger allows
		WithBaseTableSize(2 << 20).                        // small tables: small compactions
		WithBaseLevelSize(8 << 20).                        // follows the memtable
		WithValueThreshold(valueThreshold).                // see above
		WithValueLogFileSize(16 << 20).                    // the unit in which drained backlog is given back
		WithVLogPercentile(0).                             // the threshold does not move by itself
		WithVerifyValueChecksum(false).                    // every value carries our own
		WithChecksumVerificationMode(options.OnBlockRead). // damage is found, opening does not read everything
		WithNumGoroutines(1)                               // only Stream uses it
}

// badgerLog passes Badger's messages on and notices the one failure Badger tells
// nobody else about: a value log that could not be synced is only logged.
type badgerLog struct {
	log        *slog.Logger
	syncFailed atomic.Bool
}

func (l *badgerLog) Errorf(f string, a ...any) {
	if strings.Contains(f, "curlf sync") {
		l.syncFailed.Store(true)
	}
	l.log.Error("badger", "err", text(f, a))
}
func (l *badgerLog) Warningf(f string, a ...any) { l.log.Warn("badger", "err", text(f, a)) }
func (l *badgerLog) Infof(f string, a ...any)    { l.log.Debug("badger", "text", text(f, a)) }
func (l *badgerLog) Debugf(string, ...any)       {}

func text(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
