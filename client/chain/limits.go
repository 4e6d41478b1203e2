package chain

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

const (
	// stepsInFlight is how many steps of a session are under way at once, so that the hops of a long prompt work side
	// by side.
	stepsInFlight = protocol.MaxStepsInFlight

	// replayWindow is how many replayed tokens may be on their way to a hop that has not said how far it is: as many as
	// two steps. More would fill its queue, and then it would not read the pings behind them.
	replayWindow = stepsInFlight * protocol.MaxStepRows

	// pingEvery is how often hops are asked for a sign of life while anything is waited for.
	pingEvery = 500 * time.Millisecond

	// silence is how long a hop may say nothing, beside four round trips: two pings have had no answer then, and half a
	// second is left for a machine that is busy. Hops that have nearly come so far when one has are given up with it,
	// for then a second failure does not cost another wait.
	silence = 1500 * time.Millisecond
	nearly  = 200 * time.Millisecond

	// longPause is how late the clock may be read without doubt that this process was stopped: a machine that sleeps, or
	// is so busy that other peers' answers would not have been heard either.
	longPause = time.Second

	// unknownRTT is the round trip of a hop that has answered nothing yet, maxRTT bounds a measured one: what is
	// measured while a session is opened may have had to wait for other work. 4 x 2 s keeps a hung hop from being waited
	// for longer than 9.5 s.
	unknownRTT = 250 * time.Millisecond
	maxRTT     = 2 * time.Second

	// slowestLink is the bandwidth, in bytes/s, that a frame is given to arrive in before the hop's silence counts:
	// 1 Mbit/s. 8 KiB of one token take 65 ms, the 5.2 MB of a full chunk 42 s.
	slowestLink = 1 << 17

	// openLimit is how long a hop has until an open is on its way to it, the dial included: TCP's third SYN leaves after
	// 3 s, a relayed dial with its handshakes takes some 5 s. It is also how long hops have to answer an open, as long as
	// they compute nothing.
	openLimit = 10 * time.Second

	// nearRTT is the round trip within a house, where rows are taken to move with nearLink bytes/s: 64 Mbit/s.
	nearRTT  = 5 * time.Millisecond
	nearLink = 1 << 23

	// replayLimit is how long replayed rows may get on with nothing, beside the time that they need on their way: the hops
	// may have to connect first.
	replayLimit = 5 * time.Second

	// maxStrays is how many steps may get lost on their way to a hop until another takes its place.
	maxStrays = 2

	// stepLimit and rowLimit are how long a hop that has a step may get on with nothing: one thread of plain Go makes
	// some 10^9 products a second, all 13 x 10^9 of a row of the 13B take 13 s; a pass may be counted only when it is
	// done. Of a hop that has promised more, paceFactor times as long as it promised for a row is enough.
	stepLimit  = time.Minute
	rowLimit   = 13 * time.Second
	paceFactor = 50

	// heldLimit is how long a hop may have a step and say that it gets on, beside paceFactor times as long as it promised.
	heldLimit = 2 * time.Minute

	// levelRounds is how often, beside once for each hop, the hops are opened until they can go on: one round is for
	// hops that must go back to a position that others have, one for each hop that has lost what it would replay.
	levelRounds = 3

	// moveLimit is how long the hand-over of a cache may take: 4,096 tokens of a 13B's quarter are 500 MB with 16-bit
	// caches. The session waits that long at most, then it is replayed.
	moveLimit = 20 * time.Second

	// greedy is the temperature below which sampling takes the first candidate (NUMERICS, Sampling).
	greedy = 0x1p-10
)
