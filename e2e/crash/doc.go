// Package crash holds no code: its tests kill, stop and cut off real hubs while
// a publisher keeps a ledger, and then count what arrived. Every message that was
// acknowledged must be in the cloud's stream exactly once, in the order of its
// source.
//
// The hubs are processes of their own: the test program runs itself again as
// edgehub and cloudhub. `go test` runs a short version; PENSTOCK_CRASH=10m (or
// make crash) runs rounds of random faults for that long. The seed is printed,
// PENSTOCK_CRASH_SEED repeats it.
package crash
