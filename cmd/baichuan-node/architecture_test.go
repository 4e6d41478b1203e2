package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/baichuan-node/baichuan-node/"

// mayImport is the table of ARCHITECTURE.md: which of our packages a package may import. A name ending in /... stands
// for a package and all below it.
var mayImport = map[string][]string{
	"kernels":                         {},
	"protocol":                        {},
	"shard/checkpoint":                {},
	"shard/tokenizer":                 {},
	"shard/sample":                    {"kernels"},
	"shard/store":                     {"kernels", "shard/checkpoint", "shard/tokenizer"},
	"shard":                           {"kernels", "shard/store"},
	"routing":                         {"protocol"},
	"node/session":                    {"protocol", "kernels"},
	"node/launch":                     {},
	"node":                            {"kernels", "protocol", "shard", "shard/sample", "shard/store", "routing", "node/session", "node/launch"},
	"client/chain":                    {"protocol", "routing"},
	"client":                          {"protocol", "routing", "client/chain", "shard/tokenizer", "shard/sample", "shard/store"},
	"client/local":                    {"client", "protocol", "shard", "shard/sample"},
	"cmd/baichuan-node":               {"..."},
	"shard/checkpoint/synthetic":      {"shard/checkpoint"},
	"shard/checkpoint/synthetic/cmd":  {"shard/checkpoint/synthetic"},
	"shard/checkpoint/checkpointtest": {"shard/checkpoint", "shard/checkpoint/synthetic"},
}

// mayImportOutside says which packages may import a module from outside; what is not named here is forbidden.
var mayImportOutside = map[string][]string{
	"github.com/edsrzf/mmap-go":            {"kernels", "shard/store"},
	"github.com/gofrs/flock":               {"shard/store", "routing"},
	"github.com/libp2p/go-libp2p":          {"routing", "node", "client", "cmd/baichuan-node"},
	"github.com/libp2p/go-libp2p/core":     {"protocol", "routing", "node", "node/session", "client", "client/chain", "cmd/baichuan-node"},
	"github.com/libp2p/go-libp2p-kad-dht":  {"routing"},
	"github.com/multiformats/go-multiaddr": {"protocol", "routing", "node", "client", "cmd/baichuan-node"},
	"github.com/prometheus/client_golang":  {"node"},
	"github.com/schollz/progressbar/v3":    {"cmd/baichuan-node"},
	"github.com/spf13/cobra":               {"cmd/baichuan-node"},
	"github.com/spf13/pflag":               {"cmd/baichuan-node"},
	"github.com/vmihailenco/msgpack/v5":    {"protocol"},
	"go.yaml.in/yaml/v3":                   {"cmd/baichuan-node"},
	"golang.org/x/sync":                    {"shard/store", "routing", "node", "client"},
	"golang.org/x/sys":                     {"kernels", "node/launch"},
	"golang.org/x/term":                    {"cmd/baichuan-node"},
	"google.golang.org/protobuf/encoding":  {"shard/tokenizer"},
}

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Doc        string
	Imports    []string
	Standard   bool
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
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the table: add it there and to ARCHITECTURE.md", name)
			continue
		}
		if p.Doc == "" {
			t.Errorf("package %s has no package comment", name)
		}
		for _, path := range p.Imports {
			ours, isOurs := strings.CutPrefix(path, module)
			switch {
			case isOurs:
				if !slices.Contains(allowed, "...") && !slices.Contains(allowed, ours) {
					t.Errorf("%s imports %s: the table does not allow it", name, ours)
				}
			case strings.Contains(strings.Split(path, "/")[0], "."):
				if !slices.Contains(outsideUsers(path), name) {
					t.Errorf("%s imports %s: the table does not allow it", name, path)
				}
			}
		}
	}
}

// outsideUsers gives the packages that may import path: those of the longest entry that is a prefix of it.
func outsideUsers(path string) []string {
	best := ""
	for prefix := range mayImportOutside {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && len(prefix) > len(best) {
			best = prefix
		}
	}
	return mayImportOutside[best]
}
