// Package client asks a swarm, or one process, to answer: a conversation that goes on when its peers do not.
//
// A [Conversation] knows text, tokens and where an answer ends; it runs over a [Stepper], which computes: the chain of a
// swarm ([Client.NewSession]), or a whole model in this process (client/local). Both give the same bits, so an answer
// depends on the prompt, the options and the seed alone. The truth of a conversation is its token ids, and they are
// kept here: what a peer loses is computed again from them.
//
// Nothing that a peer sends is trusted. Serving, and a model's weights, have no place here.
package client

import (
	"context"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// Config says which swarm and which of its models a Client is for.
type Config struct {
	// Join are peers to begin with. None: the directory's host is connected already.
	Join []peer.AddrInfo

	// Model is a model's name, its id, or at least the first 8 digits of the id. "": the only model that is served.
	Model string

	// Allow, if it is not empty, names the only peers that sessions may go to; Block those that they may not.
	Allow, Block map[peer.ID]bool
}

// Client is one model of a swarm. It is safe for concurrent use; each of its sessions is for one goroutine at a time.
type Client struct {
	host      host.Host
	directory *routing.Directory
	offers    func(ctx context.Context) ([]protocol.Offer, error) // of the model, asked for now
	known     func() []protocol.Offer                             // of the model, as far as known; nil: nothing is
	refresh   func(ctx context.Context)                           // learns what is known anew; nil: there is no need
	sealed    func(id peer.ID) []byte                             // a peer's offer as it signed it
	model     *Model
	allow     map[peer.ID]bool
	block     map[peer.ID]bool
	bans      bans
	holders   holders
	asked     atomic.Pointer[time.Time] // when the directory was last asked, for whichever session; nil: never
}

// asksNow notes that the directory is asked, for all sessions.
func (c *Client) asksNow() {
	now := time.Now()
	c.asked.Store(&now)
}

// askedWithin says whether the directory was asked so lately that what is known is new enough.
func (c *Client) askedWithin(d time.Duration) bool {
	at := c.asked.Load()
	return at != nil && time.Since(*at) < d
}

// Connect joins a swarm, finds the model among the offers, and fetches its manifest and its tokenizer from the peers
// that serve it: all that a client needs beside an address. The host and the directory stay the caller's to close,
// after all sessions.
func Connect(ctx context.Context, h host.Host, d *routing.Directory, cfg Config) (*Client, error) {
	if len(cfg.Join) > 0 {
		if err := d.Join(ctx, cfg.Join); err != nil {
			return nil, err
		}
	}
	asked := time.Now()
	offers, err := find(ctx, d, protocol.ModelID{})
	if err != nil {
		return nil, err
	}
	chosen, err := routing.PickModel(offers, cfg.Model)
	if err != nil {
		return nil, err
	}
	var peers []peer.ID
	for _, o := range offers {
		if o.Model == chosen.Model {
			peers = append(peers, o.Peer)
		}
	}
	var measuring sync.WaitGroup // who is near, while there is something to wait for
	measuring.Go(func() { d.MeasureEnds(ctx, chosen.Model) })
	model, err := fetchModel(ctx, h, chosen, peers)
	measuring.Wait()
	if err != nil {
		return nil, err
	}
	c := &Client{
		host: h, directory: d, model: model, allow: cfg.Allow, block: cfg.Block,
		offers: func(ctx context.Context) ([]protocol.Offer, error) { return find(ctx, d, model.ID) },
		known:  func() []protocol.Offer { return plain(d.Known(model.ID)) },
		refresh: func(ctx context.Context) {
			_, _ = d.Offers(ctx, model.ID) // else what is known ages
			d.MeasureEnds(ctx, model.ID)
		},
		sealed: d.Sealed,
	}
	c.asked.Store(&asked)
	return c, nil
}

// Model is what is known of the client's model.
func (c *Client) Model() *Model { return c.model }

// find asks the directory for offers.
func find(ctx context.Context, d *routing.Directory, id protocol.ModelID) ([]protocol.Offer, error) {
	asking, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	seen, err := d.Offers(asking, id)
	if err != nil && (len(seen) == 0 || ctx.Err() != nil) { // a slow peer does not make the others' offers useless
		return nil, fmt.Errorf("ask the swarm who serves: %w", err)
	}
	return plain(seen), nil
}

func plain(seen []routing.Seen) []protocol.Offer {
	offers := make([]protocol.Offer, len(seen))
	for i, s := range seen {
		offers[i] = s.Offer
	}
	return offers
}

// fetchModel gets the manifest and the tokenizer of an offered model from peers that have them, by their hashes.
func fetchModel(ctx context.Context, h host.Host, o protocol.Offer, peers []peer.ID) (*Model, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	name := protocol.CleanText(o.ModelName, maxName)
	raw, err := routing.FetchBlob(ctx, h, peers, o.Model, store.MaxManifest)
	if err != nil {
		return nil, fmt.Errorf("get the manifest of model %s: %w", name, err)
	}
	manifest, err := store.ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", name, err)
	}
	var hash protocol.Digest
	if _, err := hex.Decode(hash[:], []byte(manifest.Tokenizer)); err != nil {
		return nil, fmt.Errorf("model %s: hash of its tokenizer: %w", name, err)
	}
	file, err := routing.FetchBlob(ctx, h, peers, hash, manifest.TokenizerSize)
	if err != nil {
		return nil, fmt.Errorf("get the tokenizer of model %s: %w", name, err)
	}
	t, err := tokenizer.Load(file)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", name, err)
	}
	return &Model{Name: name, ID: o.Model, Manifest: manifest, Tokenizer: t, Drawing: drawing(o.Advice)}, nil
}
