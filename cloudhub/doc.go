// Package cloudhub is the cloud, assembled: the broker that devices and edge
// hubs connect to, the ingress that stores what they send in a JetStream stream,
// the registry of devices, and an HTTP API.
//
// It promises what its parts promise: a message is acknowledged after the stream
// has it, once whatever is killed (package ingress); a device unknown to the
// registry is not let in. It never listens beyond loopback unless told, and its
// state folder belongs to one process at a time.
//
//	stream    the log of messages: server, subjects, headers, reading
//	ingress   Acceptor: store once, then acknowledge
//	registry  devices and modules, an identity.Directory
//	api       HTTP; client speaks to it
//
// MQTT sessions and retained messages live in memory here: what is durable in
// the cloud is the stream and the registry.
//
// New opens everything and binds every listener, so that a port in use or a
// folder not writable is its error; Run serves until its context ends.
package cloudhub
