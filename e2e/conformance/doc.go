// Package conformance holds the broker to the behaviour that Eclipse's paho
// interoperability suites check: ten tests of MQTT 3.1.1 and twenty-seven of
// MQTT 5.0, under the same names, each asserting what a client observes. They
// are written anew, over raw packets, against a broker on a real store, and run
// side by side on topics and client ids of their own.
package conformance
