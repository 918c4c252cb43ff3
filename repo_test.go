// Package penstock holds no code: its test defends the shape of the repository.
package penstock

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/penstock-io/penstock/"

// imports is the import table of ARCHITECTURE.md: for each package the packages
// of this repository it may use. A trailing /… admits what lies below.
var imports = map[string][]string{
	"internal/backoff":    nil,
	"internal/binread":    nil,
	"internal/faultproxy": nil,
	"internal/mqtttest":   nil,
	"internal/tlsfiles":   nil,

	"message":  {"internal/binread"},
	"iothub":   {"message"},
	"identity": {"message", "iothub"},
	"configs":  {"identity", "iothub"},

	"rules":          {"message", "rules/…"},
	"rules/ruletest": {"message", "rules"},
	"store":          {"message", "internal/binread"},
	"broker/wire":    nil,
	"broker":         {"message", "identity", "iothub", "configs", "broker/wire", "internal/tlsfiles"},
	"router":         {"message", "rules", "store", "internal/backoff", "internal/binread"},

	"edgehub/uplink":   {"message", "identity", "iothub", "router", "internal/backoff"},
	"edgehub/client":   nil,
	"edgehub":          {"message", "identity", "iothub", "configs", "rules", "store", "broker", "router", "edgehub/…"},
	"cloudhub/stream":  {"message"},
	"cloudhub/ingress": {"message", "internal/binread", "internal/backoff"},
	"cloudhub":         {"message", "identity", "iothub", "broker", "cloudhub/…", "internal/backoff", "internal/binread"},

	// What the programs are made of; above all of the above.
	"internal/daemon":     {"broker", "cloudhub", "cloudhub/…", "configs", "edgehub", "identity"},
	"internal/leaf":       {"identity", "iothub", "message"},
	"internal/quickstart": {"cloudhub/…", "edgehub/…", "identity", "internal/leaf", "internal/reconcile", "iothub", "message"},
	"internal/reconcile":  {"cloudhub/…", "edgehub/…"},
	"internal/replay":     nil,
}

// engines says where each third-party engine is at home; leaf, the tools' own
// device, is a client like the uplink.
var engines = map[string]string{
	"github.com/dgraph-io/badger":         "store",
	"github.com/mochi-mqtt/server":        "broker",
	"github.com/eclipse/paho.mqtt.golang": "edgehub/uplink internal/leaf",
	"github.com/nats-io":                  "cloudhub",
	"github.com/expr-lang/expr":           "rules",
	"github.com/gorilla/websocket":        "broker edgehub/uplink internal/mqtttest",
	"github.com/spf13/cobra":              "cmd",
}

func TestImportsGoDownward(t *testing.T) {
	eachPackage(t, func(dir string, deps []string) {
		allowed, known := imports[dir]
		free := strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "e2e") || strings.HasPrefix(dir, "bench") || strings.HasPrefix(dir, "examples") || dir == "."
		for _, dep := range deps {
			own, isOwn := strings.CutPrefix(dep, module)
			if !isOwn || free {
				continue
			}
			if !known && !covered(dir, own) {
				t.Errorf("%s is not in the import table: add it, with what it may use", dir)
				return
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return admits(a, own) }) && !covered(dir, own) {
				t.Errorf("%s must not import %s", dir, own)
			}
		}
	})
}

// covered lets the sub-packages of one noun use each other and their parent's table.
func covered(dir, own string) bool {
	top, _, nested := strings.Cut(dir, "/")
	if !nested {
		return false
	}
	if strings.HasPrefix(own, top+"/") {
		return true
	}
	return slices.ContainsFunc(imports[top], func(a string) bool { return admits(a, own) })
}

func admits(allowed, own string) bool {
	if base, tree := strings.CutSuffix(allowed, "/…"); tree {
		return strings.HasPrefix(own, base+"/")
	}
	return allowed == own
}

func TestEachEngineHasOneHome(t *testing.T) {
	eachPackage(t, func(dir string, deps []string) {
		for _, dep := range deps {
			for engine, home := range engines {
				at := func(h string) bool { return dir == h || strings.HasPrefix(dir, h+"/") }
				if strings.HasPrefix(dep, engine) && !slices.ContainsFunc(strings.Fields(home), at) && dir != "bench" {
					t.Errorf("%s imports %s, whose home is %s", dir, dep, home)
				}
			}
		}
	})
}

// eachPackage calls f with the non-test imports of every package.
func eachPackage(t *testing.T, f func(dir string, deps []string)) {
	t.Helper()
	found := map[string][]string{}
	walk(t, ".go", func(file string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		ast, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(filepath.ToSlash(file))
		for _, i := range ast.Imports {
			dep, _ := strconv.Unquote(i.Path.Value)
			found[dir] = append(found[dir], dep)
		}
	})
	for dir, deps := range found {
		f(dir, deps)
	}
}

func walk(t *testing.T, suffix string, f func(file string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(file, suffix) {
			f(file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var named = regexp.MustCompile("`([a-z][a-z0-9_./-]*(?:\\.(?:go|md|yaml)|/))`")

// TestDocumentsNameWhatExists keeps ARCHITECTURE.md and README.md from pointing at files that are gone.
func TestDocumentsNameWhatExists(t *testing.T) {
	for _, doc := range []string{"ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(m[1]); err != nil && !strings.Contains(m[1], "rules.d") {
				t.Errorf("%s names %s, which is not there", doc, m[1])
			}
		}
		if doc == "ARCHITECTURE.md" && strings.Count(string(text), "\n") > 250 {
			t.Errorf("%s is longer than 250 lines", doc)
		}
	}
}

// TestNoSleepsNoSkips: tests wait for the event itself and run everywhere.
func TestNoSleepsNoSkips(t *testing.T) {
	forbidden := regexp.MustCompile(`\b(time\.Sleep|t\.Skip(f|Now)?)\(`)
	walk(t, "_test.go", func(file string) {
		if file == "repo_test.go" {
			return
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if m := forbidden.Find(text); m != nil {
			t.Errorf("%s calls %s", file, m)
		}
	})
}
