package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestSimPlanner_PrintsALineForEachSize, and refuses sizes that are none.
func TestSimPlanner_PrintsALineForEachSize(t *testing.T) {
	if apart(t) {
		return
	}
	for args, want := range map[string]string{"3,x": "want numbers", "0": "want numbers", "30000": "want numbers"} {
		cmd := newSimPlannerCommand()
		cmd.SetArgs([]string{"--nodes", args})
		cmd.SetErr(&bytes.Buffer{})
		cmd.SetOut(&bytes.Buffer{})
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--nodes %s: %v", args, err)
		}
	}
	var out bytes.Buffer
	cmd := newSimPlannerCommand()
	cmd.SetArgs([]string{"--nodes", "2,3"})
	cmd.SetErr(&bytes.Buffer{})
	cmd.SetOut(&out)
	if err := cmd.Execute(); err != nil || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("%v: %s", err, out.String())
	}
}
