package parts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// FetcherConfig says of what model parts are fetched, and from whom.
type FetcherConfig struct {
	Host  host.Host
	Store *store.Store
	Model *store.Model // of the store; or whole

	// Peers gives whom to ask now. It is called every few seconds while something is fetched.
	Peers func(context.Context) []peer.ID
	// Live says whether sessions live on this machine: then little is asked for at once. nil: none do.
	Live func() bool
	// Arrived is told of the model whenever it has more parts than before, by one goroutine at a time. nil tells nobody.
	Arrived func(*store.Model)
	// Free tells how many bytes there is room for. nil: the store says so.
	Free func() (int64, error)
	// Patience is for how long nothing comes from anybody before a fetch is given up. Default 45 s.
	Patience time.Duration
	Log      *slog.Logger
}

// Fetcher gets parts of a model that this machine lacks from its peers. It is safe for concurrent use: one fetch runs at a time.
type Fetcher struct {
	cfg      FetcherConfig
	fetching chan struct{} // holds one while a fetch runs

	bytes, parts, liars atomic.Int64

	mu    sync.Mutex
	model *store.Model // guarded by mu
}

// Fetched is what a Fetcher has done since it was made.
type Fetched struct {
	Bytes int64 // of chunks that were what they were asked for
	Parts int64 // that became whole
	Liars int64 // peers that sent something else
}

// Fetched tells what has been fetched.
func (f *Fetcher) Fetched() Fetched {
	return Fetched{Bytes: f.bytes.Load(), Parts: f.parts.Load(), Liars: f.liars.Load()}
}

// NewFetcher makes a fetcher. It starts nothing.
func NewFetcher(cfg FetcherConfig) *Fetcher {
	if cfg.Live == nil {
		cfg.Live = func() bool { return false }
	}
	if cfg.Arrived == nil {
		cfg.Arrived = func(*store.Model) {}
	}
	if cfg.Free == nil && cfg.Store != nil {
		cfg.Free = cfg.Store.Free
	}
	cfg.Patience = cmp.Or(cfg.Patience, patience)
	return &Fetcher{cfg: cfg, fetching: make(chan struct{}, 1), model: cfg.Model}
}

// Peers gives whom to ask for parts of a model: who offers it, and who else is connected and hands out parts, as those do that
// are fetching it themselves.
func Peers(h host.Host, d *routing.Directory, id protocol.ModelID) func(context.Context) []peer.ID {
	return func(ctx context.Context) (ids []peer.ID) {
		seen, _ := d.Offers(ctx, id) // what is known is given with the error
		if len(seen) == 0 {
			seen = d.Known(id)
		}
		for _, s := range seen {
			if s.Offer.State != protocol.Leaving {
				ids = append(ids, s.Offer.Peer)
			}
		}
		for _, other := range h.Network().Peers() {
			speaks, err := h.Peerstore().SupportsProtocols(other, protocol.PartsID)
			if err == nil && len(speaks) > 0 && h.Network().Connectedness(other) != network.NotConnected {
				ids = append(ids, other)
			}
		}
		return ids
	}
}

// Model is the model with the parts that it is known to have here.
func (f *Fetcher) Model() *store.Model {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.model
}

// Fetch gets what lacks of a span, its ends included. progress (nil: nobody) is told how many bytes of that are here, by one
// goroutine at a time. What has arrived stays if it fails or is interrupted, and the next fetch goes on from there, in whatever
// process. Where another process of this home is fetching the same part, its work is waited for.
func (f *Fetcher) Fetch(ctx context.Context, span store.Span, progress func(done, total int64)) error {
	select {
	case f.fetching <- struct{}{}:
		defer func() { <-f.fetching }()
	case <-ctx.Done():
		return ctx.Err()
	}
	m := f.Model()
	if span.Start < 0 || span.Start >= span.End || span.End > m.Manifest.Layers {
		return fmt.Errorf("fetch layers %v of model %s: it has layers 0:%d", span, m.Name, m.Manifest.Layers)
	}
	if len(m.Lacking(span)) == 0 {
		return nil
	}
	if f.cfg.Store == nil {
		return fmt.Errorf("fetch layers %v of model %s: it is not in the store", span, m.Name)
	}
	if err := f.reopen(); err != nil {
		return err
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	r := newRun(f, f.Model().Lacking(span), progress)
	if err := r.do(ctx); err != nil {
		return fmt.Errorf("fetch layers %v of model %s: %w", span, m.Name, err)
	}
	return nil
}

// reopen looks which parts are here by now.
func (f *Fetcher) reopen() error {
	now, err := f.Model().Reopen()
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.model = now
	f.mu.Unlock()
	f.cfg.Arrived(now)
	return nil
}

// partNames lists parts as a person reads them: embed, layers 0:3, head.
func partNames(m *store.Manifest, parts []int) string {
	var names []string
	for i := 0; i < len(parts); {
		if parts[i] == 0 || parts[i] == m.Layers+1 {
			names = append(names, store.PartName(m, parts[i]))
			i++
			continue
		}
		end := i + 1
		for end < len(parts) && parts[end] == parts[end-1]+1 && parts[end] <= m.Layers {
			end++
		}
		names = append(names, fmt.Sprintf("layers %d:%d", parts[i]-1, parts[end-1]))
		i = end
	}
	return strings.Join(names, ", ")
}

// errKept ends a message about a fetch that has failed.
var errKept = errors.New("what has arrived is kept")
