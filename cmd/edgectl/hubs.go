package main

import (
	"cmp"
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

// cloudFlag adds --cloud and --token-file and returns how to reach that hub.
func cloudFlag(cmd *cobra.Command) func() (*cloud.Client, error) {
	base := cmd.Flags().String("cloud", "", "cloudhub's API, http://host:port (default $PENSTOCK_CLOUD, else the quickstart's)")
	file := cmd.Flags().String("token-file", "", "file with the API's token (default $PENSTOCK_TOKEN_FILE, else the quickstart's)")
	return func() (*cloud.Client, error) {
		url, path := cmp.Or(*base, os.Getenv("PENSTOCK_CLOUD")), cmp.Or(*file, os.Getenv("PENSTOCK_TOKEN_FILE"))
		if url == "" {
			url = quickstart.CloudURL(quickstart.DefaultState)
		}
		if path == "" {
			path = filepath.Join(quickstart.CloudState(quickstart.DefaultState), "api.token")
		}
		token, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the API's token: %w", err)
		}
		return cloud.New(url, strings.TrimSpace(string(token))), nil
	}
}
