package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

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

// keptPorts has a node that listens everywhere, and has not been told at which port, listen at one that follows from its
// identity: whoever remembers it, or passes a port on to it, finds it there when it has been started anew.
func keptPorts(listen []string, key crypto.PrivKey) []string {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return listen
	}
	sum := sha256.Sum256([]byte(id))
	port := strconv.Itoa(firstPort + int(binary.BigEndian.Uint32(sum[:]))%somePorts)
	kept := make([]string, len(listen))
	for i, addr := range listen {
		kept[i] = addr
		if slices.Contains(defaultListen, addr) {
			kept[i] = strings.NewReplacer("/tcp/0", "/tcp/"+port, "/udp/0", "/udp/"+port).Replace(addr)
		}
	}
	return kept
}

// join makes the host and its directory, and connects them to the swarm: to the peers of --join, or to those that were met
// before. Without either it begins a swarm, to which others may come; and so it does where it has been in the swarm before and
// nobody answers now, for all of its processes may have ended, and are started one after the other.
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
	reach := routing.ReachConfig{Relay: f.relay, Log: log}
	s, err := openSwarm(ctx, &f.swarm, key, keptPorts(f.listen, key), reach, f.announce...)
	if err != nil {
		s, err = openSwarm(ctx, &f.swarm, key, f.listen, reach, f.announce...) // others may have the ports
	}
	if err != nil {
		return nil, err
	}
	opened.closes(s.close)
	if _, err := s.join(ctx, &f.swarm, peers, w); err != nil {
		if ctx.Err() != nil || !s.remembersAny() {
			return nil, err
		}
		log.Warn("nobody of a swarm that was met before answers: this node begins alone, and tries them again", "error", oneLine(err.Error()))
	}
	if err := s.goOn(f.swarm.lan, peers); err != nil {
		log.Info("peers of the local network are not found", "error", err)
	}
	s.reach.Settle(ctx)
	return s, nil
}

// goOn keeps a serving process in its swarm, until the swarm is closed: it remembers whom it meets, and goes back to them when
// nobody is left, or to those that were named; and it finds whoever comes in the local network.
func (s *swarm) goOn(lan bool, named []peer.AddrInfo) error {
	if s.memory != nil {
		ctx, cancel := context.WithCancel(context.Background())
		var following sync.WaitGroup
		following.Go(func() { s.memory.Follow(ctx, s.directory, named) })
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
