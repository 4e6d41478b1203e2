package main

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// fusedOp is a fused multiply-add in the listing of Go's compiler: FMADDS, FNMSUBD (arm64), VFMADD231SS (amd64).
var fusedOp = regexp.MustCompile(`(?m)^.*\sV?FN?M(?:ADD|SUB)[A-Z0-9]*\s.*$`)

// A product that is added without being rounded gives other bits where the compiler fuses the two, as it may on arm64
// and on amd64 from GOAMD64=v3 on, also across statements. What defines bits must round each product explicitly.
func TestArithmetic_CompilerFusesNothing(t *testing.T) {
	for _, env := range [][]string{{"GOARCH=arm64"}, {"GOARCH=amd64", "GOAMD64=v3"}} {
		cmd := exec.Command("go", "build", "-gcflags=-S", "./kernels", "./shard/sample", "./shard/store")
		cmd.Dir = "../.."
		cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux"), env...)
		listing, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", env, err, listing)
		}
		if len(listing) < 1<<16 {
			t.Fatalf("%v: the compiler listed %d bytes: not the packages' code", env, len(listing))
		}
		for _, line := range fusedOp.FindAll(listing, 10) {
			t.Errorf("%v: fused: %s", env, line)
		}
	}
}
