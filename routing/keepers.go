package routing

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// keepers finds and remembers the peers that keep a model's offers: those nearest to the model's key in the DHT.
type keepers struct {
	nearest func(ctx context.Context, key string) ([]peer.ID, error)
	looking chan struct{} // holds one during a lookup: strangers' questions can't start more

	mu     sync.Mutex
	models map[protocol.ModelID]keeping // guarded by mu
}

// keeping is one model's keepers and how long they are taken for right.
type keeping struct {
	peers []peer.ID
	until time.Time // then they are looked up again
	looks int       // lookups that found them
}

func newKeepers(nearest func(context.Context, string) ([]peer.ID, error)) *keepers {
	return &keepers{nearest: nearest, looking: make(chan struct{}, 1), models: map[protocol.ModelID]keeping{}}
}

// keeperKey is where a model's offers are kept. Bucket 0 is all there is until a key is split.
func keeperKey(model protocol.ModelID) string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("bcswarm/1/%s/0", model)))
	return string(sum[:])
}

// known returns the remembered keepers of a model.
func (k *keepers) known(model protocol.ModelID) []peer.ID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.models[model].peers)
}

// of returns the keepers of a model, looked up if they are not known well enough. In a swarm of one there are none.
func (k *keepers) of(ctx context.Context, model protocol.ModelID) []peer.ID {
	if found, fresh := k.fresh(model); fresh {
		return found
	}
	select {
	case k.looking <- struct{}{}:
		defer func() { <-k.looking }()
		return k.lookUp(ctx, model, lookupTimeout)
	case <-ctx.Done():
		return k.known(model)
	}
}

// ofNow is of for a stranger's question: it looks for a moment, and if a lookup is under way it answers what is known.
func (k *keepers) ofNow(ctx context.Context, model protocol.ModelID) []peer.ID {
	found, fresh := k.fresh(model)
	if fresh {
		return found
	}
	select {
	case k.looking <- struct{}{}:
		defer func() { <-k.looking }()
		return k.lookUp(ctx, model, hintTimeout)
	default:
		return found
	}
}

// fresh returns the remembered keepers, and whether they need no lookup.
func (k *keepers) fresh(model protocol.ModelID) ([]peer.ID, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, ok := k.models[model]
	return slices.Clone(found.peers), ok && time.Now().Before(found.until)
}

// lookUp asks the DHT. The caller holds looking. What an interrupted lookup found is used beside those known before, who may
// be nearer, but not remembered, unless it had its time: where replies are lost there is always one that is waited for in
// vain, and the nearest are found long before. Finding nobody is no news worth keeping.
func (k *keepers) lookUp(ctx context.Context, model protocol.ModelID, limit time.Duration) []peer.ID {
	if found, fresh := k.fresh(model); fresh { // by whom we waited for
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	near, err := k.nearest(ctx, keeperKey(model))
	if len(near) == 0 {
		return k.known(model)
	}
	lasts := keepersFresh
	k.mu.Lock()
	looks := k.models[model].looks + 1
	k.mu.Unlock()
	if len(near) < bucketSize || err != nil || looks <= youngLooks {
		lasts = keepersYoung
	}
	near = near[:min(len(near), keeperCount)]
	if err != nil && time.Since(began) < lookupTimeout {
		known := k.known(model)
		return append(known, slices.DeleteFunc(near, func(id peer.ID) bool { return slices.Contains(known, id) })...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.models) >= maxKeptModels {
		clear(k.models)
	}
	k.models[model] = keeping{peers: near, until: time.Now().Add(lasts), looks: looks}
	return slices.Clone(near)
}

// stale makes the next call of of look up anew.
func (k *keepers) stale(model protocol.ModelID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if found, ok := k.models[model]; ok {
		found.until = time.Time{}
		k.models[model] = found
	}
}
