package virtual

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/node/auto"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/routing/placement"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// mover is a node whose driver chooses its layers, as `serve` has it: auto.Host over a real node.
type mover struct {
	player *player
	host   host.Host
	dir    *routing.Directory
	pace   *pacer
	cfg    node.Config

	retiring sync.WaitGroup // shards that are being closed

	mu      sync.Mutex // guards the following
	node    *node.Node // nil before the first span is loaded
	loaded  *shard.Shard
	serving *shard.Shard
}

// loadTime is what making a layer ready takes.
const loadTime = 500 * time.Millisecond

// run has the driver choose, and serves until ctx ends.
func (m *mover) run(ctx context.Context) (err error) {
	driver := auto.New(m, auto.Config{
		ID: string(m.player.id), Choices: m.player.choices(), Loading: 2 * loadTime, Plans: m.player.world.plans, Log: m.cfg.Log,
	})
	m.dir.OnPledge(func(from peer.ID, p protocol.Pledge) bool {
		return p.Model == m.model() && driver.Pledge(from, p.Layers, time.Duration(p.ForMS)*time.Millisecond)
	})
	defer func() { err = errors.Join(err, m.close()) }()
	_, _ = m.dir.Offers(ctx, m.model()) // whoever is alone hears of nobody
	m.player.does("chooses layers")
	if _, _, err := driver.Join(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it was ended before it had begun
		}
		return fmt.Errorf("choose layers: %w", err)
	}
	m.mu.Lock()
	m.serving, m.loaded = m.loaded, nil
	n, err := node.New(m.host, m.dir, m.serving, m.cfg)
	m.node = n
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.player.serves(protocol.Span(m.serving.Span()))
	driving, stop := context.WithCancel(ctx)
	var moving sync.WaitGroup
	moving.Go(func() { driver.Run(driving) })
	err = n.Run(ctx)
	stop()
	moving.Wait()
	return err
}

// close closes what is served and loaded, when nothing runs any more.
func (m *mover) close() error {
	m.retiring.Wait()
	var errs []error
	for _, s := range []*shard.Shard{m.loaded, m.serving} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

func (m *mover) model() protocol.ModelID { return protocol.ModelID(m.cfg.Model.ID) }

func (m *mover) running() *node.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

// View is part of auto.Host, as are the following.
func (m *mover) View() (v placement.View, lasts time.Duration) {
	seen := m.dir.Known(m.model())
	offers := make([]protocol.Offer, len(seen))
	lasts = time.Hour
	for i, s := range seen {
		offers[i] = s.Offer
		if s.Offer.Peer != m.player.id {
			lasts = min(lasts, time.Duration(s.Offer.LifeMS)*time.Millisecond-s.Age)
		}
	}
	return placement.FromOffers(offers, Layers, m.player.id, m.dir.Measures().RTT), lasts
}

func (m *mover) Changed() <-chan struct{} { return m.dir.Changed() }

func (m *mover) Rate() int64 { return int64(m.cfg.Speed.Decode) }

func (m *mover) Serving() bool {
	n := m.running()
	return n == nil || n.Stats().State == protocol.Online
}

func (m *mover) Aim(ctx context.Context, to protocol.Span) error {
	n := m.running()
	switch {
	case n != nil:
		return n.Aim(ctx, to)
	case to.Len() == 0:
		m.player.does("gives up its target")
		return m.dir.Withdraw(ctx)
	}
	return m.dir.Announce(ctx, m.cfg.Joining(to, m.pace.Name(), m.cfg.Speed))
}

func (m *mover) Load(ctx context.Context, span protocol.Span) error {
	m.player.does(fmt.Sprintf("loads %v", span))
	defer m.player.does("has loaded")
	select {
	case <-time.After(time.Duration(span.Len()) * loadTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	loaded, err := m.player.load(m.pace, store.Span(span))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loaded = loaded
	return nil
}

func (m *mover) Drop() {
	m.mu.Lock()
	s := m.loaded
	m.loaded = nil
	m.mu.Unlock()
	m.retire(s)
}

func (m *mover) retire(s *shard.Shard) {
	if err := s.Close(); err != nil {
		m.player.world.wrong("node %d: give layers back: %v", m.player.name, err)
	}
}

func (m *mover) Ask(ctx context.Context, p placement.Pledge) bool {
	yes, err := m.dir.AskPledge(ctx, peer.ID(p.Peer), protocol.Pledge{Model: m.model(), Layers: p.Layers, ForMS: uint32(auto.PledgeFor.Milliseconds())})
	return err == nil && yes
}

func (m *mover) Serve(ctx context.Context, _ string) error {
	m.mu.Lock()
	n, to := m.node, m.loaded
	m.mu.Unlock()
	m.retiring.Add(1)
	err := n.Move(ctx, to, func(old *shard.Shard) {
		defer m.retiring.Done()
		m.retire(old)
	})
	if err != nil {
		m.retiring.Done()
		return err
	}
	m.mu.Lock()
	m.loaded, m.serving = nil, to
	m.mu.Unlock()
	m.player.serves(protocol.Span(to.Span()))
	m.player.moved()
	return nil
}
