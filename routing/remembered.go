package routing

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Remembered is a file of the peers of a swarm that were met lately: whoever has it finds the swarm again when all the
// peers are gone that others are told to join by. Private swarms have their own lists, under their keys' fingerprints.
// Several processes may share the file: each replaces it by one with its own news, and what is lost where two do so at
// once is written again soon.
type Remembered struct {
	path  string
	swarm string
	log   *slog.Logger
}

// NewRemembered names the file, and the swarm in it by its key; nil: the open one.
func NewRemembered(path string, key pnet.PSK, log *slog.Logger) *Remembered {
	return &Remembered{path: path, swarm: cmp.Or(fingerprint(key), "open"), log: log}
}

// fingerprint names a swarm key without telling it; "" for none.
func fingerprint(key pnet.PSK) string {
	if key == nil {
		return ""
	}
	sum := sha256.Sum256(append([]byte("baichuan-swarm-1\n"), key...))
	return hex.EncodeToString(sum[:8])
}

// memory is the file.
type memory struct {
	Swarms map[string][]metPeer `json:"swarms"`
}

// metPeer is a peer and when it was met last, in Unix seconds: a wrong clock spoils the order alone.
type metPeer struct {
	Peer  string   `json:"peer"`
	Addrs []string `json:"addrs"`
	Met   int64    `json:"met"`
}

// Peers returns the remembered peers, those that were met last first. A file that can't be read is as good as none.
func (m *Remembered) Peers() (all []peer.AddrInfo) {
	for _, p := range m.read().Swarms[m.swarm] {
		if info, ok := p.info(); ok && len(all) < maxMet {
			all = append(all, info)
		}
	}
	return all
}

// info is a peer as the file has it, if that makes sense.
func (p metPeer) info() (info peer.AddrInfo, ok bool) {
	id, err := peer.Decode(p.Peer)
	if err != nil {
		return info, false
	}
	info.ID = id
	for _, text := range p.Addrs {
		if a, err := ma.NewMultiaddr(text); err == nil && len(info.Addrs) < protocol.MaxAddrs {
			info.Addrs = append(info.Addrs, a)
		}
	}
	return info, len(info.Addrs) > 0
}

// Keep remembers peers that have just been met.
func (m *Remembered) Keep(peers []peer.AddrInfo) error {
	if len(peers) == 0 {
		return nil
	}
	whole := m.read()
	now := time.Now().Unix()
	met := make(map[string]metPeer)
	for _, p := range whole.Swarms[m.swarm] {
		if _, ok := p.info(); ok {
			p.Met = min(p.Met, now)
			met[p.Peer] = p
		}
	}
	for _, p := range peers {
		addrs := make([]string, 0, len(p.Addrs))
		for _, a := range p.Addrs[:min(len(p.Addrs), protocol.MaxAddrs)] {
			addrs = append(addrs, a.String())
		}
		if len(addrs) > 0 {
			met[p.ID.String()] = metPeer{Peer: p.ID.String(), Addrs: addrs, Met: now}
		}
	}
	list := slices.SortedFunc(maps.Values(met), func(a, b metPeer) int {
		return cmp.Or(cmp.Compare(b.Met, a.Met), cmp.Compare(a.Peer, b.Peer))
	})
	whole.Swarms[m.swarm] = list[:min(len(list), maxMet)]
	forgetSwarms(whole.Swarms, m.swarm)
	if err := writeMemory(m.path, whole); err != nil {
		return fmt.Errorf("remember the peers of the swarm in %s: %w", m.path, err)
	}
	return nil
}

// forgetSwarms drops the swarms that were visited longest ago, where there are too many.
func forgetSwarms(swarms map[string][]metPeer, but string) {
	last := func(name string) int64 {
		if len(swarms[name]) == 0 {
			return 0
		}
		return swarms[name][0].Met
	}
	names := slices.SortedFunc(maps.Keys(swarms), func(a, b string) int {
		return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(a, b))
	})
	for _, name := range names {
		if len(swarms) > maxSwarms && name != but {
			delete(swarms, name)
		}
	}
}

// read reads the file. What is damaged is told and left out.
func (m *Remembered) read() memory {
	whole, err := readMemory(m.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("the file of remembered peers is of no use: it is begun anew", "file", m.path, "error", err)
	}
	if whole.Swarms == nil {
		whole.Swarms = make(map[string][]metPeer)
	}
	return whole
}

func readMemory(path string) (whole memory, err error) {
	f, err := os.Open(path)
	if err != nil {
		return whole, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMemory+1))
	if err != nil {
		return whole, err
	}
	if len(data) > maxMemory {
		return whole, fmt.Errorf("it has more than %d bytes", maxMemory)
	}
	if err := json.Unmarshal(data, &whole); err != nil {
		return memory{}, err
	}
	return whole, nil
}

// writeMemory replaces the file by rename, for its owner alone.
func writeMemory(path string, whole memory) error {
	data, err := json.MarshalIndent(whole, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".peers-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Met returns the peers whose offers are known, with their addresses.
func (d *Directory) Met() (all []peer.AddrInfo) {
	for _, s := range d.Known(protocol.ModelID{}) {
		if s.Offer.Peer != d.host.ID() && s.Offer.State != protocol.Leaving {
			all = append(all, s.Offer.Dialable())
		}
	}
	return all
}

// Follow remembers whom a directory meets until ctx ends. When nobody is left, it goes back to those that were met before, and
// to those that a user has named: so a swarm grows together again after all of its connections have broken, or all of its
// processes have been started anew, and needs none of the peers that it began with.
func (m *Remembered) Follow(ctx context.Context, d *Directory, named []peer.AddrInfo) {
	tick := time.NewTimer(followFirst)
	defer tick.Stop()
	var kept map[peer.ID]string // their addresses
	var at time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		tick.Reset(followEvery)
		met := d.Met()
		if len(met) == 0 {
			_ = d.Join(ctx, slices.Concat(named, m.Peers())) // nobody may be there; it is tried again
			continue
		}
		news := slices.ContainsFunc(met, func(p peer.AddrInfo) bool { return kept[p.ID] != inOrder(p.Addrs) })
		if !news && time.Since(at) < keepEvery {
			continue
		}
		if err := m.Keep(met); err != nil {
			m.log.Warn("peers are not remembered", "error", err)
		}
		kept, at = make(map[peer.ID]string), time.Now()
		for _, p := range met {
			kept[p.ID] = inOrder(p.Addrs)
		}
	}
}

// inOrder writes addresses, in whatever order they are told, in one way.
func inOrder(addrs []ma.Multiaddr) string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
