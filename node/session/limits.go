package session

import (
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// The defaults of Config.
const (
	// DefaultPerPeer: a chat client needs one, a gateway one for each conversation that runs at once. What 64 of them may
	// take of the cache is bounded by the cache; 2 steps of each in flight hold 64 x 2 x 512 x (2 x 5,120 + 1) bytes =
	// 671 MB at the 13B's hidden size if all of them prefill at once, 1.3 MB if they decode.
	DefaultPerPeer = 64
	// DefaultTotal bounds the books themselves: a session without rows is some 17 KB (4,096 ids of history).
	DefaultTotal = 256
	// DefaultIdle is after how long without a step a session is forgotten: a client that comes back later replays.
	DefaultIdle = 5 * time.Minute
	// defaultGoneAfter is how long a session without a stream of its owner still counts as present: a reconnect takes a
	// dial (2 round trips) and an open (1), 1.5 s on the worst links.
	defaultGoneAfter = 3 * time.Second
)

const (
	// yieldAfter is after how long without a step or a ping a session may have to give way to another peer's: a turn in
	// the queue of a busy node takes seconds, and a conversation that is replayed after half a minute of silence loses
	// little.
	yieldAfter = 30 * time.Second
	// restAfter is the same within one peer's own sessions, of which the oldest give way to the newest: a gateway's
	// conversations come and go. While an answer is made, its owner pings twice a second.
	restAfter = 10 * time.Second
)

// keptSteps is how many steps can be answered again: as many as may be in flight.
const keptSteps = protocol.MaxStepsInFlight

// ShortStep is the tokens of a step that decodes: one, or a few that were guessed.
const ShortStep = 8

// pageTokens is what cache is handed out in.
const pageTokens = kernels.PageSize
