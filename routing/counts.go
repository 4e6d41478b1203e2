package routing

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// counts is the messages of the directory since it began.
type counts struct {
	asked, answered [len(messageKinds)]atomic.Uint64
	pledged         [2]atomic.Uint64 // no, yes
}

// messageKinds are what is asked for; the last is what nobody answers.
var messageKinds = [...]string{"put", "list", "info", "pledge", "other"}

func messageKind(msg any) int {
	switch msg.(type) {
	case protocol.Put:
		return 0
	case protocol.List:
		return 1
	case protocol.Info:
		return 2
	case protocol.Pledge:
		return 3
	}
	return len(messageKinds) - 1
}

// Messages gives how many questions of each kind (put, list, info, pledge, other) this process has asked peers, and how many
// of theirs it has answered.
func (d *Directory) Messages(give func(kind string, asked, answered uint64)) {
	for i, kind := range messageKinds {
		give(kind, d.counts.asked[i].Load(), d.counts.answered[i].Load())
	}
}

// Pledged gives how often this process has given its word to go on serving layers, and how often it has not.
func (d *Directory) Pledged() (given, declined uint64) {
	return d.counts.pledged[1].Load(), d.counts.pledged[0].Load()
}

// ask asks a peer of the directory.
func (d *Directory) ask(ctx context.Context, id peer.ID, msg any) (answer any, rtt time.Duration, err error) {
	d.counts.asked[messageKind(msg)].Add(1)
	return ask(ctx, d.host, id, protocol.DirectoryID, msg)
}
