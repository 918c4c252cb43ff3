// Package eval is what both rule notations compile to: conditions over one
// message as trees of closures, with three-valued truth.
//
// An Env looks at one message. Its body is transcoded, validated and searched at
// most once, and only when a condition asks; a field that several rules read is
// found once. Evaluation cannot fail, loop or grow beyond the size of message and
// condition: what cannot be computed is Undefined.
//
// Nodes, paths and Fields are immutable after compilation and safe for
// concurrent use; an Env belongs to one goroutine at a time. The package does no
// I/O and keeps nothing of a message after Env.Release.
package eval
