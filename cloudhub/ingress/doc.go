// Package ingress takes messages into the cloud's stream: each is stored once,
// synced, before its sender is told so.
//
// # What it promises
//
// Batch.Done reports a message as accepted only when JetStream has acknowledged
// it, or had it already: a message whose origin (device, epoch, sequence) is in
// the stream is not stored again, whatever time lies between and however often
// either side was killed. A message without origin is recognised by its message
// id inside a bounded window. The order of the stream is the order of Accept.
// While JetStream does not answer nothing is acknowledged and nothing dropped:
// Accept blocks when what waits reaches its bound in bytes.
//
// # How
//
// One goroutine, Run, merges all that waits into one atomic batch (a single
// message goes alone) and publishes it with the stream's last sequence as it
// knows it: a compare-and-swap. The server takes the batch only if nothing else
// was stored since. So when an answer is lost the ingress reads the stream behind
// the last sequence it knows, learns from the commit names in the headers what
// arrived, and publishes the rest with the new last sequence; an earlier attempt
// that lands late is refused by the server. Two hubs on one stream, or another
// program that publishes to its subjects, cost time by the same rule but cannot
// cause a duplicate or a loss. There is no time-out that correctness rests on.
//
// An edge hub that counts sequences again, because its store was restored from a
// backup, is refused (ErrRestored) rather than told that its messages are there
// already; restored.go says how it is known from an honest one. Sequences may
// come in any order: the index takes a bit for each where they are scattered.
//
// The index of origins lives in memory, is written to a snapshot file now and
// then, and after a restart is brought up to date from the headers of the stream
// behind the snapshot. A lost or damaged snapshot is replaced by reading the
// headers of the whole stream; only then are origins forgotten that retention has
// removed.
package ingress
