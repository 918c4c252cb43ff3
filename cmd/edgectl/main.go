// Command edgectl is the operator's and developer's tool for Penstock.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root, out := newRoot()
	err := root.ExecuteContext(ctx)
	stop()
	os.Exit(out.exit(err))
}
