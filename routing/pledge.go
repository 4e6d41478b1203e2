package routing

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// OnPledge has this process answer peers that ask it to go on serving layers: yes where answer says so. Without it, and
// for nil, the answer is no. answer is called by several goroutines, for questions of anyone, and must be quick.
func (d *Directory) OnPledge(answer func(from peer.ID, p protocol.Pledge) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pledge = answer
}

// AskPledge asks a peer to go on serving layers, and reports whether it gives its word.
func (d *Directory) AskPledge(ctx context.Context, id peer.ID, p protocol.Pledge) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, rtt, err := d.ask(ctx, id, p)
	if err != nil {
		d.doubts(id)
		return false, fmt.Errorf("ask for a pledge: %w", err)
	}
	pledged, ok := answer.(protocol.Pledged)
	if !ok {
		return false, fmt.Errorf("ask for a pledge: peer %s: it answers with %T", id, answer)
	}
	d.record.measured(id, rtt)
	return pledged.Yes, nil
}

// promise answers a peer that asks for a pledge.
func (d *Directory) promise(from peer.ID, p protocol.Pledge) any {
	d.mu.Lock()
	answer := d.pledge
	d.mu.Unlock()
	if !d.pledges.take(from, time.Now()) {
		return protocol.Failure{Code: protocol.CodeBusy, Text: "too many questions for a pledge: ask again in a minute"}
	}
	yes := answer != nil && answer(from, p)
	if yes {
		d.counts.pledged[1].Add(1)
	} else {
		d.counts.pledged[0].Add(1)
	}
	return protocol.Pledged{Yes: yes}
}

// quota bounds how often each peer may ask for something. It is safe for concurrent use.
type quota struct {
	mu    sync.Mutex
	since time.Time       // guarded by mu, as below
	asked map[peer.ID]int // since then
}

func newQuota() *quota { return &quota{asked: map[peer.ID]int{}} }

// take counts a question, unless its peer, or all together, have asked too many within this minute.
func (q *quota) take(id peer.ID, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.since) >= quotaWindow {
		q.since = now
		clear(q.asked)
	}
	n, known := q.asked[id]
	if n >= maxPledges || !known && len(q.asked) >= maxPledgers {
		return false
	}
	q.asked[id]++
	return true
}
