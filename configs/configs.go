// Package configs reads configuration: strict YAML whose errors name file, line
// and column, an environment variable for every key, and annotated samples of
// every file, embedded.
//
// It promises that a key nobody knows, a value without its unit and a setting
// that contradicts another are errors, all of them told at once, and that an
// error shows where. It applies nothing and reads no file but the one it is
// given. Functions may be called concurrently.
//
// Order: defaults, then the file, then the environment, then validation.
// Relative file names are relative to the configuration file's folder.
package configs

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxSize bounds a YAML file, in bytes.
const MaxSize = 1 << 20

// Samples holds edgehub.yaml, cloudhub.yaml and rules.d: working files in which
// every key is explained.
//
//go:embed edgehub.yaml cloudhub.yaml rules.d/*.yaml
var Samples embed.FS

// LoadEdgeHub reads the configuration of an edgehub. An empty path means
// defaults and environment only. env is in the form of os.Environ; variables
// begin with PENSTOCK_EDGEHUB_.
func LoadEdgeHub(path string, env []string) (*EdgeHub, error) {
	c := defaultEdgeHub()
	return c, load(path, "PENSTOCK_EDGEHUB_", env, c)
}

// LoadCloudHub reads the configuration of a cloudhub, as LoadEdgeHub does;
// variables begin with PENSTOCK_CLOUDHUB_.
func LoadCloudHub(path string, env []string) (*CloudHub, error) {
	c := defaultCloudHub()
	return c, load(path, "PENSTOCK_CLOUDHUB_", env, c)
}

// checked is a configuration that can judge itself.
type checked interface {
	fill(dir string) // defaults that depend on other settings, and absolute paths
	check(r *report)
}

func load(path, prefix string, env []string, c checked) error {
	doc := &document{}
	dir := "."
	if path != "" {
		data, err := readFile(path)
		if err != nil {
			return err
		}
		if doc, err = parse(path, data); err != nil {
			return err
		}
		if err := doc.decode(c); err != nil {
			return err
		}
		dir = filepath.Dir(path)
	}
	if err := overlay(prefix, env, c); err != nil {
		return err
	}
	c.fill(dir)
	r := &report{doc: doc}
	c.check(r)
	return errors.Join(r.errs...)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// Decode reads one YAML document into v, a pointer to a struct, strictly: keys
// that v does not have are errors. name stands for the file in errors, which are
// of type *Error.
func Decode(name string, data []byte, v any) error {
	doc, err := parse(name, data)
	if err != nil {
		return err
	}
	return doc.decode(v)
}
