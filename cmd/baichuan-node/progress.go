package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

// byteBar shows on a terminal how many bytes of a stage are done, and nothing elsewhere.
type byteBar struct {
	cmd   *cobra.Command
	stage string
	bar   *progressbar.ProgressBar
}

func newByteBar(cmd *cobra.Command, stage string) *byteBar { return &byteBar{cmd: cmd, stage: stage} }

// updateStage shows progress in a stage of the whole. It stays one bar, whose speed is that of all stages so far.
func (b *byteBar) updateStage(stage string, done, total int64) {
	if stage != b.stage {
		b.stage = stage
		if b.bar != nil {
			b.bar.Describe(stage)
		}
	}
	b.update(done, total)
}

func (b *byteBar) update(done, total int64) {
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(progressWriter(b.cmd.ErrOrStderr())),
			progressbar.OptionSetDescription(b.stage),
			progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
	}
	_ = b.bar.Set64(done) // a bar that can't be drawn is no reason to stop
}

func (b *byteBar) end() {
	if b.bar != nil {
		_ = b.bar.Clear()
		b.bar = nil
	}
}
