package node

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Load tells what the node has to do and what it has done since New made it, as the metrics count it.
func (n *Node) Load() protocol.Load {
	counted := n.metrics.totals()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := protocol.Load{
		UptimeMS: uint64(time.Since(n.metrics.since).Milliseconds()),
		Sessions: uint64(n.table.Len()), Queue: uint64(n.queue.steps),
		CacheUsed: uint64(n.promised()), CacheFree: uint64(n.table.Available(time.Now(), n.current().tokens)),
		Tokens: counted["tokens_total"], Replayed: counted["replayed_tokens_total"], PrefixHits: counted["prefix_hit_tokens_total"],
		Steps: counted["steps_total"], LedgerAnswers: counted["ledger_answers_total"], PagesHanded: counted["pages_handed_total"],
		Repairs: counted["push_repairs_total"], DirectPushes: counted["pushes_total/direct"], ClientPushes: counted["pushes_total/client"],
		Passes: counted["batch_rows/count"], PassRows: counted["batch_rows/sum"],
	}
	// They are not all read at one moment: a step that is counted meanwhile must not make nonsense of them.
	l.Tokens = max(l.Tokens, l.Replayed)
	l.PassRows = max(l.PassRows, l.Passes)
	return l
}
