package node

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

const (
	// stepsInFlight is what a session may have waiting or running.
	stepsInFlight = protocol.MaxStepsInFlight
	// batchRows bounds the tokens of one pass: one full chunk, or the steps of 512 sessions that decode.
	batchRows = protocol.MaxStepRows
	// logitRows is how many rows of logits are made and sent at once: 8 x 125,696 x 4 bytes = 4.0 MB.
	logitRows = protocol.MaxResultRows

	// streamsPerPeer stays below the 256 that QUIC allows on a connection, so that the directory still gets through.
	streamsPerPeer = 192

	// frameTimeout is what a frame may take once it has begun: 5.2 MB, the largest of the 13B, at 1 Mbit/s are 42 s.
	frameTimeout = time.Minute
	// helloTimeout is how long a stream may stand open before its session is opened.
	helloTimeout = 30 * time.Second
	// writeTimeout is what an answer may take: 4.0 MB at 1 Mbit/s are 32 s.
	writeTimeout = time.Minute
	// heartbeatEvery is how often a client hears of a step that waits or runs: twice as often as it must, as the client
	// gives a hop up after 1.5 s of silence, and a machine with more to do than it has cores holds a beat up for half a
	// second at times.
	heartbeatEvery = time.Second / 2
	// tendEvery is how often idle sessions are looked for and the offer's load is brought up to date.
	tendEvery = time.Second

	// drainQuiet is after how long without a step a session is not in the midst of an answer any more: a token takes
	// its turn through the chain in less, on all but the slowest.
	drainQuiet = time.Second
	// drainPoll is how often a draining node looks whether it is done.
	drainPoll = 20 * time.Millisecond
	// drainFor is the default of Config.DrainFor.
	drainFor = 5 * time.Second

	// A pass over one token, or over at least prefillRows, tells how fast the node is. A new one weighs 1/16 of what is known
	// of single tokens, some seconds of an answer, and 1/4 of what is known of prompts, which are fewer and longer.
	prefillRows   = 32
	decodeWeight  = 1.0 / 16
	prefillWeight = 1.0 / 4
	// speedMoves is by what part of it a speed must have moved to be announced anew.
	speedMoves = 0.2
)
