// Command cloudhub is the daemon of the cloud side: devices come in by MQTT, messages are kept on JetStream.
package main

import (
	"os"

	"github.com/penstock-io/penstock/internal/daemon"
)

func main() { os.Exit(daemon.CloudHub().Main(os.Args[1:], os.Stderr)) }
