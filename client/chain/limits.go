package chain

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

const (
	// stepsInFlight is how many steps of a session are under way at once, so that the hops of a long prompt work side
	// by side.
	stepsInFlight = protocol.MaxStepsInFlight

	// silence is how long a working hop may send nothing, beside four round trips: it says something every second, and
	// half a second is left for a machine that is busy.
	silence = 1500 * time.Millisecond

	// maxRTT bounds the round trip that is measured while a session is opened, when a hop may also have other work:
	// 4 x 2 s keeps a hung hop from being waited for longer than 9.5 s.
	maxRTT = 2 * time.Second

	// slowestLink is the bandwidth, in bytes/s, that a frame is given to arrive in before the hop's silence counts:
	// 1 Mbit/s. 8 KiB of one token take 65 ms, the 5.2 MB of a full chunk 42 s.
	slowestLink = 1 << 17

	// openLimit is how long a hop has to answer an open while nothing is heard of it, the dial included: TCP's third
	// SYN leaves after 3 s, a relayed dial with its handshakes takes some 5 s.
	openLimit = 10 * time.Second

	// stepLimit and rowLimit are how long the count of computed rows may stand still for a hop that says it is alive:
	// one thread of plain Go makes some 10^9 products a second, all 13 x 10^9 of a row of the 13B take 13 s; rows of a
	// batch may be counted only when all are done.
	stepLimit = time.Minute
	rowLimit  = 13 * time.Second

	// turnsInStep is how often a hop may say that a step has begun to run or waits again, and be believed that this is
	// progress: it waits its turn, runs, waits for the head, and runs there.
	turnsInStep = 3

	// levelRounds is how often the hops are asked to go back to the smallest position that one of them has. One is
	// enough, a second one covers a hop that dropped its cache meanwhile.
	levelRounds = 3

	// greedy is the temperature below which sampling takes the first candidate (NUMERICS, Sampling).
	greedy = 0x1p-10
)
