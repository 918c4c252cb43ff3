package broker

import "net"

// ServeConn serves a connection that the test made, so that it can watch it.
func (b *Broker) ServeConn(c net.Conn) { b.listeners[0].serve(c) }
