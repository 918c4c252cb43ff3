package store

import "errors"

var (
	// ErrFormat is returned by Open for a directory that holds something else,
	// or a store of a version this build does not read.
	ErrFormat = errors.New("store: unknown format")
	// ErrDamaged is returned by Open, and by reads, when bytes on disk are not
	// what was written: a checksum differs, a file is missing, a key is unreadable.
	ErrDamaged = errors.New("store: damaged")
	// ErrLocked is returned by Open while another process has the store open.
	ErrLocked = errors.New("store: in use by another process")
	// ErrClosed is returned by everything that is called after Close.
	ErrClosed = errors.New("store: closed")
	// ErrBroken is returned by every write after the database failed to write or
	// sync: what is on disk is not known any more, only a restart can tell.
	ErrBroken = errors.New("store: an earlier write failed, restart to recover")
	// ErrQuota is returned for an item that would put its queue, or the store,
	// above its byte limit.
	ErrQuota = errors.New("store: quota exceeded")
	// ErrDiskFull is returned for items while the file system has less free space
	// than the configured reserve.
	ErrDiskFull = errors.New("store: not enough free disk space")
	// ErrTooLarge is returned for a message above MaxMessage, a record above
	// MaxRecord, or a request that cannot be one transaction.
	ErrTooLarge = errors.New("store: too large for one transaction")
	// ErrName is returned for a queue, bucket or rule name that is empty, too
	// long, reserved or (buckets) contains a NUL byte.
	ErrName = errors.New("store: bad name")
	// ErrNotFound is returned by Get for a record that is not there.
	ErrNotFound = errors.New("store: not found")
)
