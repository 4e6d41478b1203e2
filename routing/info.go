package routing

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Told is what a peer answers when it is asked about itself.
type Told struct {
	Peer peer.ID
	// Err says why there is no answer; then the following are empty.
	Err error
	// Offer is what the peer offers now; nil: nothing.
	Offer *protocol.Offer
	// Load is how it is doing; nil: it does not say, as older ones don't.
	Load *protocol.Load
	// RTT is the time from the question to the answer.
	RTT time.Duration
	// Relayed says that the way to the peer leads through another one, Way how it is reached: see [Way].
	Relayed bool
	Way     string
	// Version is its program's, as it says; "": it does not say. Untrusted text, cleaned.
	Version string
}

// TellLoad has this process's answers to Info say how it is doing, by what load gives; nil: no more. load is called for
// every question of anyone, and must be quick.
func (d *Directory) TellLoad(load func() protocol.Load) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.load = load
}

// tellOwn answers Info.
func (d *Directory) tellOwn() protocol.Offers {
	answer := d.book.one(d.host.ID(), time.Now())
	d.mu.Lock()
	load := d.load
	d.mu.Unlock()
	if load != nil {
		l := load()
		answer.Load = &l
	}
	return answer
}

// AskPeers asks peers about themselves, side by side and each for at most 3 s, until ctx ends. It returns an answer or an
// error for each, in the order of peers.
func (d *Directory) AskPeers(ctx context.Context, peers []peer.ID) []Told {
	told := make([]Told, len(peers))
	slots := make(chan struct{}, maxInfos)
	var all sync.WaitGroup
	for i, id := range peers {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			told[i] = d.askPeer(ctx, id)
		})
	}
	all.Wait()
	return told
}

// askPeer asks one peer about itself. An offer that is news is kept, as any that is heard of.
func (d *Directory) askPeer(ctx context.Context, id peer.ID) Told {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, rtt, err := d.ask(ctx, id, protocol.Info{})
	if err != nil {
		return Told{Peer: id, Err: err}
	}
	d.record.measured(id, rtt)
	offers, ok := answer.(protocol.Offers)
	if !ok || len(offers.Sealed) > 1 {
		return Told{Peer: id, Err: fmt.Errorf("peer %s: asked about itself, it answers with something else", id)}
	}
	told := Told{Peer: id, Load: offers.Load, RTT: rtt, Relayed: d.relayed(id), Way: Way(d.host.Network().ConnsToPeer(id), nil), Version: d.version(id)}
	if len(offers.Sealed) == 0 {
		return told
	}
	o, err := d.unseal(offers.Sealed[0])
	if err == nil && o.Peer != id {
		err = fmt.Errorf("it tells of peer %s", o.Peer)
	}
	if err != nil {
		return Told{Peer: id, Err: fmt.Errorf("peer %s: %w", id, err)}
	}
	d.learn(id, offers.Sealed[0], time.Duration(offers.AgesMS[0])*time.Millisecond, time.Now())
	told.Offer, told.Way = o, Way(d.host.Network().ConnsToPeer(id), o)
	return told
}

// relayed says whether all connections to a peer lead through another one.
func (d *Directory) relayed(id peer.ID) bool { return Connected(d.host, id) && !Direct(d.host, id) }

// version is what a peer's host says of its program. That of another program is none of ours.
func (d *Directory) version(id peer.ID) string {
	agent, err := d.host.Peerstore().Get(id, "AgentVersion") // as identify keeps it
	if err != nil {
		return ""
	}
	name, _ := agent.(string)
	version, ours := strings.CutPrefix(name, agentPrefix)
	if !ours {
		return ""
	}
	return protocol.CleanText(version, maxVersionBytes)
}
