package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/baichuan-node/baichuan-node/routing"
)

// defaultListen is all addresses of this machine, at ports that are free.
var defaultListen = []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1"}

// privateListen leaves QUIC out where there is a swarm key and nobody has asked for it: a private swarm works over TCP alone.
func privateListen(listen []string, swarmKey string, given bool) []string {
	if given || swarmKey == "" {
		return listen
	}
	return slices.DeleteFunc(slices.Clone(listen), func(addr string) bool { return strings.Contains(addr, "/quic") })
}

// join makes the host and its directory, and connects them to the swarm: to the peers of --join, or to those that were met
// before. Without either it begins a swarm, to which others may come.
func (f *serveFlags) join(ctx context.Context, w io.Writer, log *slog.Logger, opened *closers) (*swarm, error) {
	peers, err := f.swarm.peers()
	if err != nil {
		return nil, err
	}
	key, release, err := f.key()
	if err != nil {
		return nil, err
	}
	opened.closes(release)
	if f.swarm.swarmKey != "" {
		log.Info("a private swarm works over TCP alone: QUIC is off, and holes are punched by TCP")
	}
	s, err := openSwarm(ctx, &f.swarm, key, f.listen, routing.ReachConfig{Relay: f.relay, Log: log}, f.announce...)
	if err != nil {
		return nil, err
	}
	opened.closes(s.close)
	if _, err := s.join(ctx, &f.swarm, peers, w); err != nil {
		return nil, err
	}
	if err := s.goOn(f.swarm.lan); err != nil {
		log.Info("peers of the local network are not found", "error", err)
	}
	s.reach.Settle(ctx)
	return s, nil
}

// goOn keeps a serving process in its swarm, until the swarm is closed: it remembers whom it meets, and goes back to them when
// nobody is left; and it finds whoever comes in the local network.
func (s *swarm) goOn(lan bool) error {
	if s.memory != nil {
		ctx, cancel := context.WithCancel(context.Background())
		var following sync.WaitGroup
		following.Go(func() { s.memory.Follow(ctx, s.directory) })
		s.closes(func() error {
			cancel()
			following.Wait()
			s.remembers()
			return nil
		})
	}
	if !lan || !s.reach.BeyondLoopback() {
		return nil
	}
	found, err := routing.ServeLAN(s.host, s.directory, s.key)
	if err != nil {
		return fmt.Errorf("look into the local network: %w", err)
	}
	s.closes(found.Close)
	return nil
}
