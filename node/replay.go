package node

import (
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// replay sends outputs that the session's pages keep once more, as rows that are replayed: to a newcomer behind this hop,
// and through it to others.
func (h *hop) replay(m protocol.Replay) {
	w := h.way
	if w == nil || w.leg.epoch != m.Epoch {
		return // of an older epoch: nobody waits for it
	}
	for from := int(m.From); from < int(m.Until); {
		n := min(replayRows, int(m.Until)-from)
		rows, ok := h.outputs(w.leg, from, n)
		if w.leg.ctx.Err() != nil {
			return
		}
		if !ok {
			h.fail(m.Epoch, protocol.CodeLostSession, "the outputs of tokens %d..%d are not here", from, from+n-1)
			return
		}
		w.send(sent{from: from, n: n, through: m.Through}, rows)
		from += n
	}
}

// replayed sends on what this hop has made of replayed tokens, or says that the last hop they go through has them.
func (h *hop) replayed(j *job) {
	switch {
	case j.through == h.node.host.ID():
		h.forget(j)
		h.tell(protocol.Replayed{Epoch: j.in.Epoch, Position: uint32(j.in.Position + j.in.N)})
	case j.verdict == session.Held || j.final:
		h.forget(j) // it has gone on before, or there is nobody behind
	default:
		h.send(j)
	}
}
