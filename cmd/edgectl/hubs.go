package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	edge "github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/internal/quickstart"
)

// edgeFlag adds --edge to a command and returns how to reach that hub.
func edgeFlag(cmd *cobra.Command) func() *edge.Client {
	addr := cmd.Flags().String("edge", "", "edgehub's API: the path of its socket or http://host:port (default $PENSTOCK_EDGE, else the quickstart's)")
	return func() *edge.Client {
		return edge.New(cmp.Or(*addr, os.Getenv("PENSTOCK_EDGE"), quickstart.EdgeSocket(quickstart.DefaultState)))
	}
}

// errNoCloud: nothing says where a cloudhub is, and there is no quickstart here.
var errNoCloud = errors.New("no cloudhub is known")

// cloudFlag adds --cloud and --token-file and returns how to reach that hub.
func cloudFlag(cmd *cobra.Command) func() (*cloud.Client, error) {
	base := cmd.Flags().String("cloud", "", "cloudhub's API, http://host:port (default $PENSTOCK_CLOUD, else the quickstart's)")
	file := cmd.Flags().String("token-file", "", "file with the API's token (default $PENSTOCK_TOKEN_FILE, else the quickstart's)")
	return func() (*cloud.Client, error) {
		url := cmp.Or(*base, os.Getenv("PENSTOCK_CLOUD"), quickstart.CloudURL(quickstart.DefaultState))
		path := cmp.Or(*file, os.Getenv("PENSTOCK_TOKEN_FILE"))
		if path != "" {
			token, err := readToken(path)
			if err != nil {
				return nil, usage("--token-file: %w", err)
			}
			return cloud.New(url, token), nil
		}
		token, err := readToken(filepath.Join(quickstart.CloudState(quickstart.DefaultState), "api.token"))
		if err != nil {
			return nil, fmt.Errorf("%w: say --cloud and --token-file, or run in a quickstart's folder: %w", errNoCloud, err)
		}
		return cloud.New(url, token), nil
	}
}

func readToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}
