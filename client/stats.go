package client

import (
	"encoding/json"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// Stats are what an answer has cost beside its computing, in the form of `generate --json`.
type Stats struct {
	Hops         int           // peers that compute a token one after the other
	Bytes        int64         // to and from the client
	RelayedBytes int64         // of rows among them, which two hops that can't connect sent this way
	PrefixHits   int           // tokens of the prompt that every peer had in its cache
	Cached       int           // tokens of the prompt that were not computed: found, or kept from the turn before
	Replayed     int           // tokens that some peers computed again
	Reconnects   int           // streams to peers that lived and had to be opened anew
	Bans         int           // peers that are kept out of chains for a while
	Pauses       int           // refusals of peers that had no room
	Stall        time.Duration // that was lost to failures and hand-overs
}

// MarshalJSON gives {"hops","client_bytes","relayed_bytes","prefix_hit_tokens","cached_tokens","replayed_tokens",
// "reconnects","bans","pauses","stall_ms"}.
func (s Stats) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Hops       int   `json:"hops"`
		Bytes      int64 `json:"client_bytes"`
		Relayed    int64 `json:"relayed_bytes"`
		PrefixHits int   `json:"prefix_hit_tokens"`
		Cached     int   `json:"cached_tokens"`
		Replayed   int   `json:"replayed_tokens"`
		Reconnects int   `json:"reconnects"`
		Bans       int   `json:"bans"`
		Pauses     int   `json:"pauses"`
		StallMS    int64 `json:"stall_ms"`
	}{s.Hops, s.Bytes, s.RelayedBytes, s.PrefixHits, s.Cached, s.Replayed, s.Reconnects, s.Bans, s.Pauses, s.Stall.Milliseconds()})
}

// Failover is a peer that was replaced during an answer, in the form of `generate --json`.
type Failover struct {
	Layers     protocol.Span // that the peer computed
	Peer       peer.ID
	Reason     error
	Successors []peer.ID     // who computes those layers now: the peer itself, if it came back
	Stall      time.Duration // from the failure until the interrupted step was done
	Replayed   int           // tokens that were computed again for it
	HandedOver int           // tokens whose cache it gave to its successor
}

// MarshalJSON gives {"layers","peer","reason","successors","stall_ms","replayed_tokens","handed_over_tokens"}.
func (f Failover) MarshalJSON() ([]byte, error) {
	successors := make([]string, len(f.Successors))
	for i, p := range f.Successors {
		successors[i] = p.String()
	}
	return json.Marshal(struct {
		Layers     string   `json:"layers"`
		Peer       string   `json:"peer"`
		Reason     string   `json:"reason"`
		Successors []string `json:"successors"`
		StallMS    int64    `json:"stall_ms"`
		Replayed   int      `json:"replayed_tokens"`
		HandedOver int      `json:"handed_over_tokens"`
	}{f.Layers.String(), f.Peer.String(), f.Reason.Error(), successors, f.Stall.Milliseconds(), f.Replayed, f.HandedOver})
}

// Attrs describes the failover for a log.
func (f Failover) Attrs() []any {
	return []any{
		"layers", f.Layers.String(), "peer", f.Peer, "reason", f.Reason, "successors", f.Successors,
		"stall_ms", f.Stall.Milliseconds(), "replayed_tokens", f.Replayed, "handed_over_tokens", f.HandedOver,
	}
}

// books are what happened since the last Begin.
type books struct {
	failovers []Failover
	open      int       // the last of them, which no step has followed yet
	stalled   time.Time // since when nothing is computed; zero: it is
	began     []time.Time
	stats     Stats
	bytes     int64 // of the link, at Begin
	relayed   int64
}

// begin opens new books. What has not been got over is carried over.
func (b *books) begin(l *link) {
	first := len(b.failovers) - b.open
	*b = books{
		failovers: append([]Failover(nil), b.failovers[first:]...), began: b.began, open: b.open, stalled: b.stalled,
		bytes: l.bytes.Load(), relayed: l.chain.Relayed(),
	}
}

// failed takes down which hops failed: some peers lived and have a stream anew, others are replaced. A peer that takes its
// own place again, when it had been given up, counts as replaced by itself: it may hold nothing any more.
func (b *books) failed(hops []routing.Hop, faults []*chain.Fault, reached func(hop int) bool, since time.Time) {
	for i, h := range hops {
		switch {
		case faults[i] == nil:
		case reached(i):
			b.stall(since)
			b.stats.Reconnects++
		default:
			b.add(Failover{Layers: h.Span, Peer: h.Peer, Reason: faults[i].Err}, since)
		}
	}
}

// left takes down that a hop which is leaving is replaced by others.
func (b *books) left(h routing.Hop, since time.Time) {
	b.add(Failover{Layers: h.Span, Peer: h.Peer, Reason: errLeaving}, since)
}

// handedOver takes down that a hop gave what it held to its successor.
func (b *books) handedOver(h routing.Hop, since time.Time, tokens int) {
	b.add(Failover{Layers: h.Span, Peer: h.Peer, Reason: errLeaving, HandedOver: tokens}, since)
}

// add begins the books of a failover. A peer that comes back and fails again before anything was computed is one failover.
func (b *books) add(f Failover, since time.Time) {
	b.stall(since)
	for _, before := range b.failovers[len(b.failovers)-b.open:] {
		if before.Peer == f.Peer && before.Layers == f.Layers {
			return
		}
	}
	b.failovers = append(b.failovers, f)
	b.began = append(b.began, since)
	b.open++
}

func (b *books) stall(since time.Time) {
	if b.stalled.IsZero() {
		b.stalled = since
	}
}

// replayed counts tokens that are computed again for the failovers that no step has followed yet.
func (b *books) replayed(n int) {
	b.stats.Replayed += n
	for i := len(b.failovers) - b.open; i < len(b.failovers); i++ {
		b.failovers[i].Replayed += n
	}
}

// settle closes the books of the failovers that a step has followed.
func (b *books) settle(hops []routing.Hop) {
	first := len(b.failovers) - b.open
	for i, began := range b.began {
		f := &b.failovers[first+i]
		f.Stall = time.Since(began)
		for _, h := range hops {
			if h.Span.Start < f.Layers.End && f.Layers.Start < h.Span.End {
				f.Successors = append(f.Successors, h.Peer)
			}
		}
	}
	b.open, b.began = 0, nil
	if !b.stalled.IsZero() {
		b.stats.Stall += time.Since(b.stalled)
		b.stalled = time.Time{}
	}
}
