package pipeline

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// edgectl is the program, built once.
var edgectl string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "edgectl")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		edgectl = filepath.Join(dir, "edgectl")
		if out, err := exec.Command("go", "build", "-o", edgectl, "../../cmd/edgectl").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build edgectl: %v\n%s", err, out)
			return 1
		}
		code := m.Run()
		http.DefaultClient.CloseIdleConnections()
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}
