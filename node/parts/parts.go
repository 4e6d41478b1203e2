// Package parts brings the weights of a model from peer to peer: a [Server] hands out what this machine has of it, a [Fetcher]
// gets what it lacks.
//
// Everything is asked for by its hash. The manifest names each chunk of each part, so a chunk from a stranger is as good as
// one of one's own once it has that hash, and is worth nothing before: it is checked before it is written, and who sends a
// wrong one is asked no more. Several peers are asked side by side; which chunk of whom, and what becomes of one that fails,
// is decided by a plain table ([book]) that is told the time and does nothing itself.
//
// Parts stand aside for sessions. While any live here or at the other end, they go in small pieces, one at a time; what
// leaves stays within the owner's cap ([Uplink]), together with the caches that are handed over; and those who ask take turns.
package parts

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// Describe gets what describes an offered model from peers that may have it, for the store to adopt.
func Describe(ctx context.Context, h host.Host, o protocol.Offer, peers []peer.ID) (store.Adopted, error) {
	ctx, cancel := context.WithTimeout(ctx, describeFor)
	defer cancel()
	a := store.Adopted{Generation: generation(o.Advice), Names: namesFor(o), Source: "the swarm"}
	var err error
	if a.Manifest, err = routing.FetchBlob(ctx, h, peers, o.Model, store.MaxManifest); err != nil {
		return a, fmt.Errorf("get the manifest of model %s: %w", o.Model, err)
	}
	m, err := store.ParseManifest(a.Manifest)
	if err != nil {
		return a, fmt.Errorf("model %s: %w", o.Model, err)
	}
	var hash protocol.Digest
	if _, err := hex.Decode(hash[:], []byte(m.Tokenizer)); err != nil {
		return a, fmt.Errorf("model %s: hash of its tokenizer: %w", o.Model, err)
	}
	if a.Tokenizer, err = routing.FetchBlob(ctx, h, peers, hash, m.TokenizerSize); err != nil {
		return a, fmt.Errorf("get the tokenizer of model %s: %w", o.Model, err)
	}
	return a, nil
}

// namesFor is what a model of the swarm may be called here: as its peer calls it, or with a piece of its id, which is not of a
// stranger's choosing.
func namesFor(o protocol.Offer) []string {
	id := o.Model.String()
	var names []string
	if store.CheckName(o.ModelName) == nil {
		names = append(names, o.ModelName, o.ModelName[:min(len(o.ModelName), 50)]+"-"+id[:8])
	}
	return append(names, "model-"+id[:8], "model-"+id[:32])
}

// generation is what an offer advises, as a generation_config says it. Advice out of range is none.
func generation(a *protocol.Advice) store.Generation {
	if a == nil {
		return store.Generation{}
	}
	temperature, penalty := decimal(a.Sampling.Temperature), decimal(a.Sampling.Penalty)
	topK, topP, tokens := int(a.Sampling.TopK), a.Sampling.TopP, int(a.MaxTokens)
	g := store.Generation{Temperature: &temperature, TopK: &topK, TopP: &topP, RepetitionPenalty: &penalty}
	if tokens > 0 {
		g.MaxNewTokens = &tokens
	}
	if g.Check() != nil {
		return store.Generation{}
	}
	return g
}

// decimal is the shortest number that gives v again: 0.3, where a conversion gives 0.30000001192.
func decimal(v float32) float64 {
	d, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	return d
}
