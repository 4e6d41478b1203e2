package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/node/parts"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// supply is where a node has its model from: the store or the program, and for what lacks the peers of the swarm. It hands out
// to others what is here.
type supply struct {
	cmd     *cobra.Command
	server  *parts.Server
	fetcher *parts.Fetcher

	mu   sync.Mutex
	live func() bool // guarded by mu
}

// obtain opens the model that serve was asked for: one of the store or of the program, else the swarm's model by that name or
// id, of which the store then has what describes it and no part. From then on peers get from here what is here, within
// netRate bytes/s (0: no cap). Close it before the swarm.
func obtain(ctx context.Context, cmd *cobra.Command, s *swarm, name string, netRate uint64, log *slog.Logger) (*supply, error) {
	models, err := openStore()
	if err != nil {
		return nil, err
	}
	model, isBundled, err := findModel(name)
	if missing := (*store.NotFoundError)(nil); errors.As(err, &missing) {
		model, isBundled, err = adopt(ctx, s, models, missing)
	}
	if err != nil {
		return nil, err
	}
	if isBundled {
		models = nil // it is whole
	}
	server, err := parts.Serve(s.host, model, parts.NewUplink(netRate))
	if err != nil {
		return nil, err
	}
	o := &supply{cmd: cmd, server: server, live: func() bool { return false }}
	o.fetcher = parts.NewFetcher(parts.FetcherConfig{
		Host: s.host, Store: models, Model: model, Peers: parts.Peers(s.host, s.directory, protocol.ModelID(model.ID)),
		Live: o.isLive, Arrived: server.Arrived, Log: log,
	})
	return o, nil
}

// adopt finds a model in the swarm and gives the store what describes it, unless the store has the model by another name.
func adopt(ctx context.Context, s *swarm, models *store.Store, missing *store.NotFoundError) (model *store.Model, isBundled bool, err error) {
	seen, err := s.directory.Offers(ctx, protocol.ModelID{})
	if err != nil {
		return nil, false, fmt.Errorf("%w; and the swarm can't be asked: %w", missing, err)
	}
	var offers []protocol.Offer
	for _, o := range seen {
		offers = append(offers, o.Offer)
	}
	chosen, err := routing.PickModel(offers, missing.Model)
	if err != nil {
		return nil, false, fmt.Errorf("%w; and %w", missing, err)
	}
	model, isBundled, err = findModel(chosen.Model.String())
	if none := (*store.NotFoundError)(nil); !errors.As(err, &none) {
		return model, isBundled, err
	}
	var peers []peer.ID
	for _, o := range offers {
		if o.Model == chosen.Model {
			peers = append(peers, o.Peer)
		}
	}
	described, err := parts.Describe(ctx, s.host, chosen, peers)
	if err != nil {
		return nil, false, err
	}
	described.Names = slices.DeleteFunc(described.Names, func(name string) bool {
		return slices.ContainsFunc(bundled.Names(), func(have string) bool { return strings.EqualFold(name, have) })
	})
	model, err = models.Adopt(described)
	return model, false, err
}

// Model is the model with the parts that are here now.
func (s *supply) Model() *store.Model { return s.fetcher.Model() }

// Parts is what hands out the model, for the node's Config.
func (s *supply) Parts() *parts.Server { return s.server }

// Live has fetches ask little at once while live says that sessions live here.
func (s *supply) Live(live func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = live
}

func (s *supply) isLive() bool {
	s.mu.Lock()
	live := s.live
	s.mu.Unlock()
	return live()
}

// Fetch gets from peers what lacks of a span, its ends included, and does nothing where nothing lacks. It shows a progress bar, and may
// be called while the node serves. What has arrived stays if it fails or is interrupted.
func (s *supply) Fetch(ctx context.Context, span store.Span) error {
	bar := newByteBar(s.cmd, "fetching from peers")
	defer bar.end()
	var here, all int64
	err := s.fetcher.Fetch(ctx, span, func(done, total int64) {
		here, all = done, total
		bar.update(done, total)
	})
	if err != nil && ctx.Err() != nil {
		bar.end()
		fmt.Fprintf(s.cmd.ErrOrStderr(), "baichuan-node: interrupted: %s of the %s for layers %v of %s are here; the same command goes on from there\n",
			humanBytes(here), humanBytes(all), span, s.Model().Name)
	}
	return err
}

// Close ends the handing out.
func (s *supply) Close() error { return s.server.Close() }
