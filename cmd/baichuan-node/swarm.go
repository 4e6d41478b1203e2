package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/routing"
)

// swarmFlags say which swarm a command talks to. The zero value is nobody's: without --join it finds no swarm, and it
// remembers none.
type swarmFlags struct {
	join     []string
	swarmKey string
	lan      bool
	remember bool // peers once met, in the home
}

func (f *swarmFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.join, "join", nil, "address of any peer of the swarm, /ip4/.../p2p/PEER (repeatable; default: peers met before, or in the local network)")
	cmd.Flags().StringVar(&f.swarmKey, "swarm-key", "", "file with the key of a private swarm")
	cmd.Flags().BoolVar(&f.lan, "lan", true, "find peers in the local network by multicast (--lan=false: don't)")
	cmd.Flags().BoolVar(&f.remember, "remember", true, "remember peers in the home, and go back to them (--remember=false: don't)")
}

// peers parses the --join addresses; several of one peer become one.
func (f *swarmFlags) peers() ([]peer.AddrInfo, error) {
	var infos []peer.AddrInfo
	for _, text := range f.join {
		info, err := joinAddr(text)
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

// joinAddr parses an address with a peer's id.
func joinAddr(text string) (*peer.AddrInfo, error) {
	addr, err := multiaddr.NewMultiaddr(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(flagError(err).Error(), fmt.Sprintf("failed to parse multiaddr %q: ", text)))
	}
	info, err := peer.AddrInfoFromP2pAddr(addr)
	if err != nil {
		return nil, errors.New("it lacks /p2p/ and the peer's id at its end, as serve prints them")
	}
	if len(info.Addrs) == 0 {
		return nil, errors.New("it says who the peer is, and not where")
	}
	return info, nil
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
func (f *swarmFlags) key(log *slog.Logger) (pnet.PSK, error) {
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
	if info, err := file.Stat(); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		log.Warn("others on this machine may read the swarm key, and join: chmod 600 it", "file", f.swarmKey)
	}
	return key, nil
}

// swarm is a host in a swarm and its view of the others.
type swarm struct {
	host      host.Host
	directory *routing.Directory
	reach     *routing.Reach
	traffic   *routing.Traffic
	key       pnet.PSK
	memory    *routing.Remembered // nil: nobody is remembered
	serving   bool
	log       *slog.Logger
	closers   // what else runs, before these
}

// openSwarm starts a host and its directory. It joins nobody yet. key nil: a fresh identity, as clients have it;
// with listen addresses it serves, and does what reach says to be reached; others are told those to announce, if there are any.
func openSwarm(ctx context.Context, f *swarmFlags, key crypto.PrivKey, listen []string, reach routing.ReachConfig, announce ...string) (_ *swarm, err error) {
	s := &swarm{serving: len(listen) > 0, traffic: &routing.Traffic{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if reach.Log == nil {
		reach.Log = slog.New(slog.DiscardHandler)
	}
	s.log = reach.Log
	if s.key, err = f.key(s.log); err != nil {
		return nil, err
	}
	if f.remember {
		home, err := homeDir()
		if err != nil {
			return nil, err
		}
		s.memory = routing.NewRemembered(filepath.Join(home, "peers.json"), s.key, s.log)
	}
	s.reach = routing.NewReach(reach)
	version, _ := buildVersion()
	cfg := routing.HostConfig{Key: key, Listen: listen, Announce: announce, SwarmKey: s.key, Reach: s.reach, Version: version, Traffic: s.traffic}
	if s.host, err = routing.NewHost(cfg); err != nil {
		return nil, err
	}
	s.closes(s.host.Close)
	if s.directory, err = routing.NewDirectory(ctx, s.host, routing.DirectoryConfig{Serving: s.serving}); err != nil {
		return nil, err
	}
	s.closes(s.directory.Close)
	if err := s.reach.Start(s.host, s.directory); err != nil {
		return nil, err
	}
	s.closes(s.reach.Close)
	return s, nil
}

// remembers writes down whom the swarm has met.
func (s *swarm) remembers() {
	if s.memory == nil {
		return
	}
	if err := s.memory.Keep(s.directory.Met()); err != nil {
		s.log.Warn("peers are not remembered", "error", err)
	}
}

// enterSwarm starts a client's host and connects it to a swarm: to the peers of --join, or to peers that were met before, or
// to what is found in the local network. w gets notes. otherwise is what a user can do without a swarm.
func enterSwarm(ctx context.Context, f *swarmFlags, key crypto.PrivKey, w io.Writer, otherwise string) (_ *swarm, err error) {
	peers, err := f.peers()
	if err != nil {
		return nil, err
	}
	s, err := openSwarm(ctx, f, key, nil, routing.ReachConfig{Log: logOf(ctx)})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	found, err := s.join(ctx, f, peers, w)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, usagef("no swarm: give the address of a peer with --join (serve prints it)%s", otherwise)
	}
	s.closes(func() error { s.remembers(); return nil })
	return s, nil
}

// join connects to a swarm. Where the peers of --join don't answer, those that were met before may. found is false if there is
// nobody to ask.
func (s *swarm) join(ctx context.Context, f *swarmFlags, peers []peer.AddrInfo, w io.Writer) (found bool, err error) {
	if len(peers) > 0 {
		if err = s.directory.Join(ctx, peers); err == nil {
			tellUnjoined(w, s, peers)
			return true, nil
		}
	}
	if ctx.Err() != nil {
		return false, err
	}
	met := s.met(peers)
	if len(met) > 0 {
		if s.directory.Join(ctx, met) == nil {
			if err != nil {
				fmt.Fprintln(w, "note: nobody of --join answers: peers that were met before do")
			}
			return true, nil
		}
	}
	if err != nil {
		return false, err
	}
	if f.lan && !s.serving { // who serves goes on looking
		looking, cancel := context.WithTimeout(ctx, lanTimeout)
		defer cancel()
		if near := routing.FindLAN(looking, s.key); len(near) > 0 {
			return true, s.directory.Join(ctx, near)
		}
	}
	if len(met) > 0 {
		fmt.Fprintf(w, "note: none of %s met before answers\n", counted(len(met), "peer"))
	}
	return false, ctx.Err()
}

// met returns the peers that were met before, without some and without this one.
func (s *swarm) met(but []peer.AddrInfo) (all []peer.AddrInfo) {
	if s.memory == nil {
		return nil
	}
	for _, p := range s.memory.Peers() {
		if indexOf(but, p.ID) < 0 && p.ID != s.host.ID() {
			all = append(all, p)
		}
	}
	return all
}

// remembersAny says whether this swarm's peers have been met before.
func (s *swarm) remembersAny() bool { return s.memory != nil && len(s.memory.Peers()) > 0 }
