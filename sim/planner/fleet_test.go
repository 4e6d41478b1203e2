package planner

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestFleet_LivesTheSameTwice: a seed fixes what becomes of a swarm, whose layers are served and whose chains are made.
func TestFleet_LivesTheSameTwice(t *testing.T) {
	cfg := FleetConfig{Nodes: 12, Seed: 3, For: 20 * time.Minute}
	var twice [2]Fleet
	for i := range twice {
		f, err := PlayFleet(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		twice[i] = f
	}
	if !reflect.DeepEqual(twice[0], twice[1]) {
		t.Error("two plays of a seed differ")
	}
	s := twice[0].Summary()
	if s.Opened != 0 || s.Covered < 1 || s.Part < 0.5 || s.Part > 1 || s.TokenMS < 30 || s.Hops < 2 {
		t.Errorf("%+v", s)
	}
}

// TestFleet_ReadsASampleOfALargeSwarm also ends: a look must not cost more for more nodes.
func TestFleet_ReadsASampleOfALargeSwarm(t *testing.T) {
	f := newFleet(FleetConfig{Nodes: fleetView + 50, Seed: 1})
	f.announced()
	if got := len(f.view().Peers); got != fleetView {
		t.Errorf("a node reads %d offers", got)
	}
}

func TestFleet_StopsWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := PlayFleet(ctx, FleetConfig{Nodes: 3}); err == nil {
		t.Error("it plays on")
	}
}

func TestWriteFleets_WritesAReportWithItsPlots(t *testing.T) {
	sample := FleetSample{Tokens: 50, Ceiling: 100, TokenMS: 80, Hops: 3}
	bare := FleetSample{At: sampleFleet, Gaps: 2, Ceiling: 100}
	fleets := []Fleet{{Nodes: 10, For: time.Hour, Moves: 5, Samples: []FleetSample{sample, bare}}, {Nodes: 100, For: time.Hour, Samples: []FleetSample{sample}}}
	dir := filepath.Join(t.TempDir(), "report")
	if err := WriteFleets(dir, "a command", fleets); err != nil {
		t.Fatal(err)
	}
	report, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil || !strings.Contains(string(report), "50.00 %         60 s") || !strings.Contains(string(report), "a command") {
		t.Errorf("%v, %s", err, report)
	}
	for name := range fleetPlots(fleets) {
		svg, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasSuffix(string(svg), "</svg>\n") || strings.Contains(string(svg), "NaN") || !strings.Contains(string(report), name) {
			t.Errorf("%s: %v, %.300s", name, err, svg)
		}
	}
}
