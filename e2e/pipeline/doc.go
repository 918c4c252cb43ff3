// Package pipeline holds no code: its tests run an edge and a cloud as their
// programs assemble them, in one process, and follow messages all the way from a
// device into the cloud's stream. The tests of the quickstart build edgectl and
// run it as a user does.
//
// With PENSTOCK_SHARED naming the folder of recorded data, a real series is
// replayed in full; without it a small one from testdata.
package pipeline
