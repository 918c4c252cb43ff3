package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/rules"
	"github.com/penstock-io/penstock/rules/ruletest"
)

func rulesCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "Check, explain and test rule files, without a hub", RunE: group}
	cmd.AddCommand(rulesCheck(out), rulesExplain(out), rulesTest(out))
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
		Args: someArgs,
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
					fmt.Fprintf(w, "%s into %s: fine\n", plural(c.Rules, "rule"), plural(len(c.Queues), "queue"))
				}
			})
			if perr != nil || err == nil {
				return perr
			}
			return errFound
		},
	}
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
	if err == nil && len(files) == 0 {
		return nil, fmt.Errorf("no rule files in folder %s, want *.yaml", path)
	}
	for i := range files {
		files[i].Name = filepath.Join(path, files[i].Name)
	}
	return files, err
}

func rulesExplain(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain FILE|FOLDER… --message M.json", Short: "Say which rules match a message, and why the others do not",
		Long: "The message is JSON: {\"device\", \"module\", \"output\", \"topic\", \"system\", \"properties\", \"body\", \"accepted\"},\nall optional. For each rule that does not match, the part of its condition that was not true is\nshown with the values it saw.",
		Args: someArgs,
	}
	file := cmd.Flags().StringP("message", "m", "", "file with the message; - reads standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *file == "" {
			return usage("say --message")
		}
		data, err := readInput(*file, cmd.InOrStdin())
		if err != nil {
			return usage("--message: %w", err)
		}
		m, err := rules.ParseMessageJSON(data)
		if err != nil {
			return usage("%s: %w", *file, err)
		}
		set, err := compile(args)
		if err != nil {
			return usageError{err}
		}
		e := set.Explain(&m)
		return out.print(e, func(w io.Writer) { _ = e.WriteText(w) }) // print sees the writer's errors
	}
	return cmd
}

const maxInput = 8 << 20

func readInput(path string, stdin io.Reader) ([]byte, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		stdin = file
	}
	data, err := io.ReadAll(io.LimitReader(stdin, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxInput)
	}
	return data, err
}

func rulesTest(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "test FILE.rules-test|FOLDER…", Short: "Run tests of rules; exit code 1 if one fails",
		Long: "A test file says `given` a message and what to `expect`. It tests the rule files in its own folder,\nor those named with --rules.",
		Args: someArgs,
	}
	from := cmd.Flags().StringSlice("rules", nil, "rule files or folders to test instead")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		files, err := testFiles(args)
		if err != nil {
			return usageError{err}
		}
		results := []ruletest.Result{}
		failed := 0
		for _, file := range files {
			rs, err := runTests(file, *from)
			if err != nil {
				return err
			}
			for _, r := range rs {
				if len(r.Failures) > 0 {
					failed++
				}
			}
			results = append(results, rs...)
		}
		err = out.print(results, func(w io.Writer) {
			for _, r := range results {
				for _, f := range r.Failures {
					fmt.Fprintf(w, "%s:%d: %s: %s\n", r.File, f.Line, f.Expect, f.Text)
				}
			}
			fmt.Fprintf(w, "%s, %d failed\n", plural(len(results), "test"), failed)
		})
		if err == nil && failed > 0 {
			err = errFound
		}
		return err
	}
	return cmd
}

const testExt = ".rules-test"

func testFiles(paths []string) (files []string, err error) {
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, p)
			continue
		}
		found, err := filepath.Glob(filepath.Join(p, "*"+testExt))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no %s files there", testExt)
	}
	return files, nil
}

func runTests(file string, from []string) ([]ruletest.Result, error) {
	if len(from) == 0 {
		from = []string{filepath.Dir(file)}
	}
	set, err := compile(from)
	if err != nil {
		return nil, usageError{err}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{err}
	}
	rs, err := ruletest.Run(set, file, data)
	if err != nil {
		return nil, usageError{err}
	}
	return rs, nil
}
