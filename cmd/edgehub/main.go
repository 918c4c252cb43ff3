// Command edgehub is the daemon of a device: the MQTT broker with durable queues and rules.
package main

import (
	"os"

	"github.com/penstock-io/penstock/internal/daemon"
)

func main() { os.Exit(daemon.EdgeHub().Main(os.Args[1:], os.Stderr)) }
