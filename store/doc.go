// Package store keeps everything a device must not forget: durable queues of
// messages and small named records, in one Badger database with one writer.
//
// It promises that what Append reports as accepted survives kill -9 and power
// loss (the commit is synced before Done is called), that an item is in all of
// its queues or in none, that sequence numbers are never used twice, and that
// for every queue and rule accepted = delivered + queued + expired + dropped +
// buried at every moment and after every crash: counters change in the
// transaction that changes the queue.
//
// It never replaces a damaged or unknown store by an empty one, never falls back
// to memory, and never keeps an index of the backlog in memory: a queue costs
// about a kilobyte however many messages wait in it.
//
// One goroutine, the writer, merges all waiting requests into one synced
// transaction; a second one reports completions in commit order; a third expires
// messages and gives disk space back. All methods are safe for concurrent use.
// A queue is meant to have one consumer; several may lease from it, each message
// goes to one of them. FORMAT.md specifies the bytes on disk.
package store
