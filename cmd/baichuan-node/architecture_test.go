package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/baichuan-node/baichuan-node/"

// unlisted are packages of tests and tools, which are no rooms of the house.
func unlisted() map[string][]string {
	return map[string][]string{
		"shard/checkpoint/synthetic/cmd":  {"shard/checkpoint/synthetic"},
		"shard/checkpoint/checkpointtest": {"shard/checkpoint/synthetic"},
		"terminal/terminaltest":           {},
	}
}

// mayImport reads ARCHITECTURE.md's table of the rooms: which of our packages each package may import; "all" is any.
func mayImport(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	table := unlisted()
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|") // | floor | `package` | purpose | imports | never |
		if len(cells) != 7 || !strings.Contains(cells[2], "`") {
			continue
		}
		name := strings.Trim(cells[2], " `")
		table[name] = []string{}
		if imports := strings.TrimSpace(cells[4]); imports != "-" {
			table[name] = strings.Split(imports, ", ")
		}
	}
	if len(table) < 10 {
		t.Fatalf("ARCHITECTURE.md's table has %d packages: its form has changed", len(table))
	}
	return table
}

// mayImportOutside says which packages may import a module from outside, or the part of it that is named; what is not
// named here is forbidden.
func mayImportOutside() map[string][]string {
	return map[string][]string{
		"github.com/charmbracelet/ultraviolet":   {"terminal"},
		"github.com/creack/pty":                  {"terminal/terminaltest"},
		"github.com/edsrzf/mmap-go":              {"kernels", "shard", "shard/store"},
		"golang.org/x/sys/cpu":                   {"kernels", "kernels/probe"},
		"golang.org/x/sys/unix":                  {"kernels", "node/launch", "shard/store"},
		"github.com/gofrs/flock":                 {"shard/store", "routing"},
		"github.com/libp2p/go-libp2p":            {"routing", "sim/simnet"},
		"github.com/libp2p/go-libp2p/core":       {"protocol", "routing", "node", "node/parts", "node/session", "client", "sim", "sim/simnet", "sim/virtual", "cmd/baichuan-node", "sim/planner"},
		"github.com/libp2p/go-libp2p-kad-dht":    {"routing"},
		"github.com/libp2p/go-netroute":          {"routing"},
		"github.com/jackpal/go-nat-pmp":          {"routing"},
		"github.com/libp2p/go-msgio":             {"routing"},
		"github.com/libp2p/zeroconf/v2":          {"routing"},
		"github.com/multiformats/go-multiaddr":   {"protocol", "routing", "sim/simnet", "sim/virtual", "cmd/baichuan-node"},
		"github.com/multiformats/go-multistream": {"routing"},
		"github.com/pbnjay/memory":               {"cmd/baichuan-node"},
		"github.com/prometheus/client_golang":    {"node", "gateway"},
		"github.com/rivo/uniseg":                 {"cmd/baichuan-node", "terminal", "terminal/terminaltest"},
		"github.com/schollz/progressbar/v3":      {"cmd/baichuan-node"},
		"github.com/spf13/cobra":                 {"cmd/baichuan-node"},
		"github.com/spf13/pflag":                 {"cmd/baichuan-node"},
		"github.com/vmihailenco/msgpack/v5":      {"protocol"},
		"go.yaml.in/yaml/v3":                     {"cmd/baichuan-node"},
		"golang.org/x/sync":                      {"shard/store", "shard/quality", "gateway"},
		"golang.org/x/term":                      {"cmd/baichuan-node", "terminal"},
		"golang.org/x/time/rate":                 {"gateway"},
		"google.golang.org/protobuf/encoding":    {"shard/tokenizer"},
	}
}

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Doc        string
	Imports    []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("read go list's output: %v", err)
		}
		packages = append(packages, p)
	}
}

func TestArchitecture_PackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	inside, outside := mayImport(t), mayImportOutside()
	used := map[[2]string]bool{} // who, what
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := inside[name]
		if !known {
			t.Errorf("package %s is not in the table: add it to ARCHITECTURE.md", name)
			continue
		}
		used[[2]string{name}] = true
		if p.Doc == "" {
			t.Errorf("package %s has no package comment", name)
		}
		for _, path := range p.Imports {
			ours, isOurs := strings.CutPrefix(path, module)
			switch {
			case isOurs:
				used[[2]string{name, ours}] = true
				if !slices.Contains(allowed, "all") && !slices.Contains(allowed, ours) {
					t.Errorf("%s imports %s: the table does not allow it", name, ours)
				}
			case strings.Contains(strings.Split(path, "/")[0], "."):
				entry := entryOf(outside, path)
				used[[2]string{name, entry}] = true
				if !slices.Contains(outside[entry], name) {
					t.Errorf("%s imports %s: the table does not allow it", name, path)
				}
			}
		}
	}
	for name, allowed := range inside {
		if !used[[2]string{name}] {
			t.Errorf("package %s is in the table and not there", name)
		}
		for _, what := range allowed {
			if what != "all" && !used[[2]string{name, what}] {
				t.Errorf("%s may import %s and does not: take it out of the table", name, what)
			}
		}
	}
	for what, names := range outside {
		for _, name := range names {
			if !used[[2]string{name, what}] {
				t.Errorf("%s may import %s and does not: take it out of the table", name, what)
			}
		}
	}
}

// entryOf gives the entry that a path falls under: the longest that is a prefix of it.
func entryOf(table map[string][]string, path string) (best string) {
	for prefix := range table {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && len(prefix) > len(best) {
			best = prefix
		}
	}
	return best
}
