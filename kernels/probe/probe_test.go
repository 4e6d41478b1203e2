package probe

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// Whatever set the kernels compute with, there are loops to hold it against.
func TestSets_AreThoseOfTheKernels(t *testing.T) {
	if !slices.Equal(Sets(), kernels.Sets()) {
		t.Errorf("loops for %v, kernels for %v", Sets(), kernels.Sets())
	}
}

func TestChoose_TakesTheFamilyOfAnUnknownVariantAndElseTheFastest(t *testing.T) {
	for kernels, want := range map[string]string{
		"generic": "generic", "generic+new": "generic", "unknown": sets()[0].name, "": sets()[0].name,
	} {
		if got := choose(kernels).name; got != want {
			t.Errorf("for %q the loops of %s, want %s", kernels, got, want)
		}
	}
}

// Each loop runs, for as little as it can be asked for, and gives a rate.
func TestProbe_MeasuresWithEachSetOnAnyNumberOfThreads(t *testing.T) {
	for _, s := range sets() {
		s.read(make([]byte, readStep))
		s.integer(1)
		s.float(1)
		for _, threads := range []int{1, 2, 5} {
			p := New("cpu/"+s.name, threads)
			if l := p.Limits(); l.Read <= 0 || l.Integer <= 0 || l.Float <= 0 {
				t.Errorf("%s: %+v", p.Loops(), l)
			}
		}
	}
}

func TestProbe_ReadsAllOfTheMemoryInTurn(t *testing.T) {
	memory := [][]byte{make([]byte, 3*chunkBytes+readStep+1), nil, make([]byte, readStep-1), make([]byte, (runChunks+5)*chunkBytes)}
	p := New("", 1).Over(memory...)
	read := make(map[*byte]int) // bytes by their first
	p.set.read = func(b []byte) { read[&b[0]] = len(b) }
	p.Read()
	p.Read()
	total := 0
	for _, n := range read {
		total += n
	}
	if want := 3*chunkBytes + readStep + (runChunks+5)*chunkBytes; total != want {
		t.Errorf("%d bytes of %d were read", total, want)
	}
}

func TestProbe_ReadsLittleMemoryAgainAndAgain(t *testing.T) {
	if rate := New("", 2).Over(make([]byte, 3*readStep)).Read(); rate <= 0 {
		t.Errorf("%v bytes a second", rate)
	}
}

func TestProbe_DoesEachUnitOnce(t *testing.T) {
	p := &Probe{threads: 4}
	var counts [1000]int32 // each is written by who claimed it
	p.run(len(counts), func(unit int) { counts[unit]++ })
	for i, n := range counts {
		if n != 1 {
			t.Fatalf("unit %d was done %d times", i, n)
		}
	}
}

func TestCPU_HasAName(t *testing.T) {
	if CPU() == "" {
		t.Error("no name")
	}
	file := filepath.Join(t.TempDir(), "cpuinfo")
	if err := os.WriteFile(file, []byte("processor\t: 0\nmodel name\t: Some CPU @ 1 GHz\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := systemCPU(file); got != "Some CPU @ 1 GHz" {
		t.Errorf("%q", got)
	}
	if got := systemCPU(file + "-missing"); got != "" {
		t.Errorf("%q of a file that is not there", got)
	}
}
