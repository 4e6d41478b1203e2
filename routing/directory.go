// Package routing knows who serves what, how far it is, and whom to call: it makes the libp2p host and sees to it that others
// reach it, keeps the directory of signed offers, fetches what describes a model, and plans chains.
//
// Deciding is separate from doing. [Plan] and [PickModel] are functions of the offers and measurements they are given;
// [Directory] does the talking. A Directory is safe for concurrent use; the slices it returns belong to the caller.
// Weights, the streams of inference and text are never in here.
//
// # What a chain costs
//
// A chain costs the time that a token takes through it, in whole microseconds, so that everyone finds the same:
//
//	half a round trip from the client to the first hop, and half a one from the last hop back
//	the head       10^6 / (the last hop's tokens/s through the final norm and the lm_head)
//	for each hop   fix + c * (layers that it is asked for) + wait + 10 s if it has less free cache than the session may reach
//	between hops   half a round trip + row / bandwidth of whoever sends
//
//	c     10^6 / (its tokens/s through one layer), times what steps took lately beside what was predicted (0.5 to 4);
//	      so is the head, which costs as much as several layers
//	fix   150: reading, checking, queueing and passing on a row
//	wait  (fix + c * (layers that it serves) + its head) * rho / (1-rho): with it, all that the peer takes is times 1/(1-rho). It is for
//	      all its layers whatever it is asked for, because the device computes one pass for many sessions, and its rows leave
//	      when all are done. rho is what the peer says: see [Crowd], which also says why a busy device takes further sessions.
//
// Round trips are as the peers have measured them to each other, the longer one if both have; else the longer one of the
// client's own to the two, which is the middle of what the triangle allows (their sum if one is behind a relay); 50 ms to
// whom the client has not measured (100 ms behind a relay); 0 between peers on the client's own machine. A relay adds 20 ms
// to what comes in and to what goes out. A row is that of the 13B, 10 KiB.
//
// With f[i][q] the least time in which layers 0..i are computed and layer i at q,
//
//	f[i][q] = c + min( f[i-1][q] if q holds layer i-1,  fix + wait + lack + min over the 16 soonest p at i-1 of f[i-1][p] + way )
//
// Less than that counts a peer that holds what the session begins with, by what it saves and no more ([Affinity]), and a
// session's own peers count before all others. Banned, blocked and draining peers have no part in it, and no peer comes
// twice. [Repair] plans again by what peers say when a session is opened, [Explain] says why a peer is not in a chain.
package routing

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// DirectoryConfig says how a process takes part in the directory.
type DirectoryConfig struct {
	// Serving processes join the DHT, keep offers for others and answer questions. Others only ask.
	Serving bool

	// Nearest finds the peers nearest to a key, nearest first. Nil: the DHT does. For simulations of more peers than a DHT can
	// be computed for.
	Nearest func(ctx context.Context, key string) ([]peer.ID, error)

	// Unseal opens sealed offers. Nil: protocol.Unseal. For simulations: what has been opened for one of the peers in a process
	// need not be opened again for the others, as long as it is the same to the byte. Nobody changes what it returns.
	Unseal func(sealed []byte) (*protocol.Offer, error)

	// Wall is the wall clock, from which nothing but the sequence of a first offer is taken: it may be wrong. Nil: this
	// machine's.
	Wall func() time.Time
}

// Directory is this process's view of who serves what. Make it with NewDirectory, and close it before its host.
type Directory struct {
	host    host.Host
	book    *book
	record  *record
	dht     *dht.IpfsDHT // nil if not serving, or if Nearest does its work
	server  *server      // nil if not serving, as keepers
	keepers *keepers
	pledges *quota // of questions for a pledge
	doubted chan doubt
	knocks  *Pacer
	wall    func() time.Time
	unseal  func([]byte) (*protocol.Offer, error)
	serving bool
	boot    uint64 // tells this process's offers from those of one before
	counts  counts

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	joined  []peer.AddrInfo      // guarded by mu, as the following
	earlier uint64               // sequence of an offer that this identity made before this process
	load    func() protocol.Load // nil: nothing is told of it
	pledge  func(from peer.ID, p protocol.Pledge) bool
	reach   *Reach // nil: nothing is known of how this process is reached

	announcing sync.Mutex // guards the five below: one offer at a time is made
	own        *protocol.Offer
	sequence   uint64
	hurries    int           // offers that came early since the last regular renewal
	wake       chan struct{} // the renewal is due anew
	behind     chan struct{} // it is due now
}

// NewDirectory starts the directory over a host. ctx bounds the start alone.
func NewDirectory(ctx context.Context, h host.Host, cfg DirectoryConfig) (*Directory, error) {
	d := &Directory{host: h, serving: cfg.Serving, book: newBook(), record: newRecord(), pledges: newQuota(),
		doubted: make(chan doubt, maxDoubts), knocks: NewPacer(knockRate, knockBurst), boot: uint64(rand.Int64()) | 1,
		wake: make(chan struct{}, 1), behind: make(chan struct{}, 1)}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if d.wall = cfg.Wall; d.wall == nil {
		d.wall = time.Now
	}
	if d.unseal = cfg.Unseal; d.unseal == nil {
		d.unseal = protocol.Unseal
	}
	if !cfg.Serving {
		return d, nil
	}
	nearest := cfg.Nearest
	if nearest == nil {
		kad, err := dht.New(h, dht.ProtocolPrefix(kadPrefix), dht.Mode(dhtMode(h)), dht.BucketSize(bucketSize), dht.DisableValues(), dht.DisableProviders(),
			dht.BootstrapPeersFunc(d.joinedPeers), dht.AddressFilter(func(all []ma.Multiaddr) []ma.Multiaddr { return dialable(h, all) }))
		if err != nil {
			d.cancel()
			return nil, fmt.Errorf("start the directory: %w", err)
		}
		d.dht, nearest = kad, kad.GetClosestPeers
	}
	d.keepers = newKeepers(nearest)
	d.server = serve(h, protocol.DirectoryID, "baichuan.directory", d.answer)
	d.done.Go(d.run)
	unwatch := d.watch()
	d.done.Go(func() {
		defer unwatch()
		d.knockAll()
	})
	d.done.Go(d.readOn)
	return d, nil
}

// dhtMode is whether a process answers questions of the DHT: always where it listens on loopback alone, and else as long as
// nobody finds that it can't be reached.
func dhtMode(h host.Host) dht.ModeOpt {
	if slices.ContainsFunc(h.Network().ListenAddresses(), func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) }) {
		return dht.ModeAutoServer
	}
	return dht.ModeServer
}

// reachedBy has offers say how this process is reached.
func (d *Directory) reachedBy(r *Reach) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reach = r
}

// begin does something beside, for which Close waits. It reports whether it has begun: after Close it doesn't.
func (d *Directory) begin(what func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return false
	}
	d.done.Go(what)
	return true
}

// Close takes this process's offer back as far as others can still be told, ends everything that the directory started,
// and waits for it.
func (d *Directory) Close() error {
	d.mu.Lock()
	d.cancel() // a renewal under way gives up
	d.mu.Unlock()
	d.done.Wait()
	if d.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = d.Withdraw(ctx) // when a whole swarm ends, nobody is left to be told
	d.server.close()
	if d.dht == nil {
		return nil
	}
	if err := d.dht.Close(); err != nil {
		return fmt.Errorf("close the directory: %w", err)
	}
	return nil
}

// joinedPeers returns the peers that were joined.
func (d *Directory) joinedPeers() []peer.AddrInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.joined)
}

func (d *Directory) joinedIDs() []peer.ID { return ids(d.joinedPeers()) }

// Offers asks the swarm who serves a model, or any model for the zero id: the peers that were joined and some that serve
// it, in case all of those are gone, then whom they hint at. It returns all that is known then, sorted by peer. It is an
// error if nobody answers and nothing is known.
func (d *Directory) Offers(ctx context.Context, model protocol.ModelID) ([]Seen, error) {
	first := slices.Concat(d.joinedIDs(), d.someKnown(model))
	if d.keepers != nil {
		first = append(first, d.keepers.known(model)...)
	}
	hints, err := d.askAll(ctx, model, first)
	if len(hints) > 0 {
		hinted, cancel := context.WithTimeout(ctx, hintedTimeout)
		_, _ = d.askAll(hinted, model, ids(hints)) // a help: without it what they would add is missing, no more
		cancel()
	}
	known := d.Known(model)
	if err != nil && len(known) == 0 {
		return nil, fmt.Errorf("ask for offers: %w", err)
	}
	return known, ctx.Err()
}

// Known returns what is known of a model, or of any for the zero id, without asking anybody; sorted by peer.
func (d *Directory) Known(model protocol.ModelID) []Seen { return d.book.seen(model, time.Now()) }

// Changed returns a channel that is closed when a peer comes, or says that it serves something else than before, or goes.
// Take it before what is known is read. That the time of an offer is over closes nothing: its age tells when.
func (d *Directory) Changed() <-chan struct{} { return d.book.changed() }

// Sealed returns the offer of a peer as that peer signed it, for a third one to believe; nil if none is known. It must
// not be changed.
func (d *Directory) Sealed(id peer.ID) []byte { return d.book.sealedOf(id, time.Now()) }

// Unseal opens an offer that somebody hands on, as the directory opens those that it is told. It must not be changed.
func (d *Directory) Unseal(sealed []byte) (*protocol.Offer, error) { return d.unseal(sealed) }

// someKnown returns a few peers that serve a model, by chance, so that no one of them hides the rest for ever.
func (d *Directory) someKnown(model protocol.ModelID) []peer.ID {
	var all []peer.ID
	for _, s := range d.Known(model) {
		if s.Offer.State != protocol.Leaving {
			all = append(all, s.Offer.Peer)
		}
	}
	most := someAsked
	if len(all) == 0 {
		all, most = d.book.ended(), smallSwarm // after a while in which nobody was in reach some may be again, but hardly all
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), most)]
}

// Measures returns the round trips to the peers that answered questions, and what their steps tell, for Plan. Who is banned, and whom a session
// prefers, is the caller's to add to its empty maps: a peer that answers questions may still fail at its work.
func (d *Directory) Measures() Measures { return d.record.measures(time.Now(), nil) }

// askAll asks peers for offers of a model side by side, and returns what they hint at, without those asked already. Once
// one has answered, the others have half a second more. The error, if none answered, has one reason for each.
func (d *Directory) askAll(ctx context.Context, model protocol.ModelID, peers []peer.ID) (hints []peer.AddrInfo, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	peers = d.others(peers)
	var mu sync.Mutex // guards the following
	var faults []string
	answered := false
	var grace *time.Timer
	each(peers, func(id peer.ID) {
		var told []peer.AddrInfo
		err := d.question(ctx, id, protocol.List{Model: model, Limit: protocol.MaxListOffers}, &told)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			faults = append(faults, err.Error())
			return
		}
		if !answered {
			answered = true
			grace = time.AfterFunc(stragglerGrace, cancel)
		}
		hints = append(hints, told...)
	})
	if !answered {
		if len(peers) == 0 {
			return nil, errors.New("no peer is known")
		}
		return nil, errors.New(strings.Join(faults, "; "))
	}
	grace.Stop()
	hints = slices.DeleteFunc(hints, func(h peer.AddrInfo) bool { return slices.Contains(peers, h.ID) })
	return hints[:min(len(hints), maxAsked)], nil
}

// question asks one peer, and learns from the offers in its answer.
func (d *Directory) question(ctx context.Context, id peer.ID, msg any, hints *[]peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, rtt, err := d.ask(ctx, id, msg)
	if err != nil {
		d.doubts(id)
		return err
	}
	offers, ok := answer.(protocol.Offers)
	if !ok {
		return fmt.Errorf("peer %s: it answers with %T", id, answer)
	}
	d.record.measured(id, rtt)
	now := time.Now()
	var doubtful []peer.ID
	for i, sealed := range offers.Sealed {
		if who := d.learn(id, sealed, max(time.Duration(offers.AgesMS[i])*time.Millisecond, leastAge), now); who != "" && len(doubtful) < maxDoubtful {
			doubtful = append(doubtful, who)
		}
	}
	each(doubtful, func(who peer.ID) { d.askPeer(ctx, who) })
	if hints != nil {
		for _, h := range offers.Hints {
			d.meet(h.ID, h.Addrs)
		}
		*hints = offers.Hints
	}
	return nil
}

// learn takes an offer that a peer relays, or its own. A bad one is passed over: the relay may not know better. Most are known,
// to the byte, and need not be opened again. It returns a peer whose own word alone would be believed, if there is one.
func (d *Directory) learn(from peer.ID, sealed []byte, age time.Duration, now time.Time) (doubtful peer.ID) {
	if d.book.holds(sealed, from) {
		return ""
	}
	o, err := d.unseal(sealed)
	if err != nil {
		return ""
	}
	if o.Peer == d.host.ID() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.earlier = max(d.earlier, o.Sequence)
		return ""
	}
	switch {
	case o.Peer == from:
		d.book.reborn(o, now)
	case d.book.doubtful(o, now):
		d.meet(o.Peer, o.Dialable().Addrs)
		return o.Peer
	}
	if news, err := d.book.hear(from, o, sealed, age, now); err == nil && news {
		d.meet(o.Peer, o.Dialable().Addrs)
	}
	return ""
}

// meet keeps a peer's addresses for a while, so that it can be called by its id. Those of a process that serves mean the same
// here as where they come from, so that no stranger has it knock at its own machine's doors.
func (d *Directory) meet(id peer.ID, addrs []ma.Multiaddr) {
	if id == d.host.ID() {
		return
	}
	if d.serving {
		addrs = dialable(d.host, addrs)
	}
	d.host.Peerstore().AddAddrs(id, addrs, addrsKept)
}

// others returns peers without repeats and without this one.
func (d *Directory) others(peers []peer.ID) (out []peer.ID) {
	for _, id := range peers {
		if id != d.host.ID() && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// ids returns the peers of address books.
func ids(peers []peer.AddrInfo) []peer.ID {
	out := make([]peer.ID, len(peers))
	for i, p := range peers {
		out[i] = p.ID
	}
	return out
}

// each calls do for all peers, at most maxAsked at the same time, and waits.
func each(peers []peer.ID, do func(peer.ID)) {
	slots := make(chan struct{}, maxAsked)
	var all sync.WaitGroup
	for _, id := range peers {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			do(id)
		})
	}
	all.Wait()
}
