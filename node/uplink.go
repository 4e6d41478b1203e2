package node

import (
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/node/parts"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// uplink is the pace of what is handed over, all sessions together and with the parts that peers ask for: their owners' steps,
// and those of sessions that stay, go by the same way and must not wait behind 500 MB of cache.
type uplink struct {
	*parts.Uplink
	ahead int // bytes that are to be handed over still; guarded by the node's mutex
}

// cacheBytes is the size of a session's cache as it is handed over.
func (n *Node) cacheBytes(span protocol.Span, tokens int) int {
	return tokens * (span.Len()*n.kvBytes + n.rowBytes())
}

// worthwhile refuses a hand-over that would not be done while the node serves the session, or that takes longer than having the successor
// compute the tokens from what the hop before sends: then a replay is better for the owner. Called with the mutex held.
func (n *Node) worthwhile(h *hop, span protocol.Span, tokens int, to *protocol.Offer) error {
	takes := n.uplink.Takes(n.uplink.ahead + n.cacheBytes(span, tokens))
	if takes == 0 || to.PrefillRate == 0 {
		return nil
	}
	replay := time.Duration(float64(tokens*span.Len())/float64(to.PrefillRate)*float64(time.Second)) + n.uplink.Takes(tokens*n.rowBytes())
	by, leaves := n.servedUntil(h)
	switch {
	case takes > replay:
		return fmt.Errorf("it would take %v, and a replay %v", takes.Round(time.Millisecond), replay.Round(time.Millisecond))
	case leaves && takes > time.Until(by):
		return fmt.Errorf("it would take %v, longer than this node serves the session", takes.Round(time.Millisecond))
	}
	return nil
}
