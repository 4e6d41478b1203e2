package auto

import (
	"context"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// loading is a span on its way into memory.
type loading struct {
	begun  time.Duration
	news   int // layers that are not served yet
	cancel context.CancelFunc
	done   chan error // gets one
}

// load begins to load a span. Whoever takes loading away waits for it.
func (d *Driver) load(ctx context.Context, span protocol.Span) {
	ctx, cancel := context.WithCancel(ctx)
	l := &loading{begun: d.now(), cancel: cancel, done: make(chan error, 1)}
	held := d.know().Held
	for x := span.Start; x < span.End; x++ {
		if x < held.Start || x >= held.End {
			l.news++
		}
	}
	d.loading = l
	go func() { l.done <- d.host.Load(ctx, span) }()
}

// drop lets go of what is loaded or being loaded and not served.
func (d *Driver) drop() {
	loaded := d.know().Loaded
	if l := d.loading; l != nil {
		d.loading = nil
		l.cancel()
		loaded = <-l.done == nil
	}
	if loaded {
		d.host.Drop()
	}
	d.mu.Lock()
	d.self.Loaded = false
	d.mu.Unlock()
}

// longest is the layers of the longest of some spans.
func longest(spans []protocol.Span) (n int) {
	for _, s := range spans {
		n = max(n, s.Len())
	}
	return n
}
