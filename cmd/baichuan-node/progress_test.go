package main

import (
	"io"
	"testing"

	"github.com/spf13/cobra"
)

// A bar that began anew at each stage took what was done before for the work of its first moment.
func TestByteBar_IsOneForAllStages(t *testing.T) {
	cmd := &cobra.Command{}
	cmd.SetErr(io.Discard)
	bar := newByteBar(cmd, "")
	bar.updateStage("embed", 10, 100)
	first := bar.bar
	bar.updateStage("head", 90, 100)
	if state := bar.bar.State(); bar.bar != first || state.CurrentBytes != 90 || state.Description != "head" {
		t.Errorf("another bar, or not at its place: %+v", state)
	}
}
