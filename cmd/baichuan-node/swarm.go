package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/routing"
)

// swarmFlags say which swarm a command talks to.
type swarmFlags struct {
	join     []string
	swarmKey string
}

func (f *swarmFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.join, "join", nil, "address of a peer of the swarm, /ip4/.../p2p/PEER (repeatable)")
	cmd.Flags().StringVar(&f.swarmKey, "swarm-key", "", "file with the key of a private swarm")
}

// peers parses the --join addresses; several of one peer become one.
func (f *swarmFlags) peers() ([]peer.AddrInfo, error) {
	var infos []peer.AddrInfo
	for _, text := range f.join {
		info, err := peer.AddrInfoFromString(text)
		if err != nil {
			return nil, usagef("--join %q: want an address like /ip4/192.0.2.1/tcp/4001/p2p/12D3...: %w", text, err)
		}
		if i := indexOf(infos, info.ID); i >= 0 {
			infos[i].Addrs = append(infos[i].Addrs, info.Addrs...)
			continue
		}
		infos = append(infos, *info)
	}
	return infos, nil
}

func indexOf(infos []peer.AddrInfo, id peer.ID) int {
	for i, info := range infos {
		if info.ID == id {
			return i
		}
	}
	return -1
}

// key reads the --swarm-key file; no flag is an open swarm.
func (f *swarmFlags) key() (pnet.PSK, error) {
	if f.swarmKey == "" {
		return nil, nil
	}
	file, err := os.Open(f.swarmKey)
	if err != nil {
		return nil, fmt.Errorf("read the swarm key: %w", err)
	}
	defer file.Close()
	key, err := routing.ReadSwarmKey(file)
	if err != nil {
		return nil, fmt.Errorf("read the swarm key %s: %w", f.swarmKey, err)
	}
	return key, nil
}

// swarm is a host in a swarm and its view of the others.
type swarm struct {
	host      host.Host
	directory *routing.Directory
}

// openSwarm starts a host and its directory. It joins nobody yet. key nil: a fresh identity, as clients have it;
// with listen addresses it serves, and others are told those to announce, if there are any.
func openSwarm(ctx context.Context, f *swarmFlags, key crypto.PrivKey, listen []string, announce ...string) (*swarm, error) {
	psk, err := f.key()
	if err != nil {
		return nil, err
	}
	h, err := routing.NewHost(routing.HostConfig{Key: key, Listen: listen, Announce: announce, SwarmKey: psk})
	if err != nil {
		return nil, err
	}
	d, err := routing.NewDirectory(ctx, h, routing.DirectoryConfig{Serving: len(listen) > 0})
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return &swarm{host: h, directory: d}, nil
}

func (s *swarm) close() error { return errors.Join(s.directory.Close(), s.host.Close()) }
