package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/rules"
)

func rulesCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "Check, explain and test rule files, without a hub"}
	cmd.AddCommand(rulesCheck(out))
	return cmd
}

// checked is what `rules check` prints.
type checked struct {
	Rules  int           `json:"rules"`
	Queues []string      `json:"queues"`
	Faults []rules.Fault `json:"faults"`
}

func rulesCheck(out *output) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE|FOLDER…", Short: "Compile rule files and print every mistake with its place; exit code 1 if there are any",
		Args: someFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			set, err := compile(args)
			var faults rules.Faults
			if err != nil && !errors.As(err, &faults) {
				return err
			}
			c := checked{Queues: []string{}, Faults: append([]rules.Fault{}, faults...)}
			if err == nil {
				c.Rules, c.Queues = set.Len(), set.Queues()
			}
			perr := out.print(c, func(w io.Writer) {
				for _, f := range faults {
					fmt.Fprintln(w, f)
				}
				if err == nil {
					fmt.Fprintf(w, "%d rules into %d queues: fine\n", c.Rules, len(c.Queues))
				}
			})
			if perr != nil || err == nil {
				return perr
			}
			return errQuiet
		},
	}
}

func someFiles(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("usage: %s", cmd.UseLine())
	}
	return nil
}

// compile makes one set of files and folders.
func compile(paths []string) (*rules.Set, error) {
	var files []rules.File
	for _, p := range paths {
		more, err := readRules(p)
		if err != nil {
			return nil, usageError{err}
		}
		files = append(files, more...)
	}
	return rules.Compile(rules.Input{Files: files})
}

func readRules(path string) ([]rules.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		return []rules.File{{Name: path, Data: data}}, err
	}
	files, err := rules.ReadDir(os.DirFS(path), ".")
	for i := range files {
		files[i].Name = filepath.Join(path, files[i].Name)
	}
	return files, err
}
