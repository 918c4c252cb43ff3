package crash

import (
	"io"
	"os"
	"testing"

	"github.com/penstock-io/penstock/internal/daemon"
)

// TestMain is also the hubs' main: a child is this program with a hub's name as
// its first argument. Children end when the pipe on their standard input does,
// so that none outlives a test that was killed.
func TestMain(m *testing.M) {
	var run func(args []string, stderr io.Writer) int
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "edgehub":
			run = daemon.EdgeHub().Main
		case "cloudhub":
			run = daemon.CloudHub().Main
		}
	}
	if run == nil {
		os.Exit(m.Run())
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	os.Exit(run(os.Args[2:], os.Stderr))
}
