package node

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

const (
	// stepsInFlight is what a session may have waiting or running.
	stepsInFlight = protocol.MaxStepsInFlight
	// batchRows bounds the tokens of one pass: a prompt's chunk, and the steps of hundreds of sessions that decode.
	batchRows = protocol.MaxStepRows
	// chunkAlone and chunkBeside are the tokens of prompts in one pass: 128 are computed hardly faster one by one than in
	// larger lots, and hold up a new step for no longer; beside steps that decode, some 8 to 16 ride along for little, as
	// the weights are read for those anyway.
	chunkAlone  = 128
	chunkBeside = 16
	// decodingFor is how long after a short step a session counts as decoding: a round through the chain and back.
	decodingFor = 2 * time.Second
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
	// beatEvery is how often an owner hears of the node while it has to wait until more can be taken: it gives a hop up
	// after 1.5 s of silence.
	beatEvery = time.Second / 2
	// tendEvery is how often idle sessions are looked for and the offer's load is brought up to date.
	tendEvery = time.Second

	// drainPoll is how often a draining node looks whether it is done.
	drainPoll = 20 * time.Millisecond
	// drainFor is the default of Config.DrainFor. A hand-over is worth it while it is quicker than a replay: 4,096 tokens
	// through 16 layers of the 7B are 33 s at 2,000 tokens/s and layer. That twice, and less than the 90 s after which
	// systemd kills.
	drainFor = time.Minute
	// handShare is the part of the upload that hand-overs take: steps find the rest free.
	handShare = 0.75

	// maxDrain is for how long sessions are served by a node that drains without a deadline, as the wire has it.
	maxDrain = 10 * time.Minute

	// replayRows is the rows of a frame that is replayed: 2.6 MB at the 13B's hidden size.
	replayRows = 256
	// maxReopen is how often a push stream is opened anew for the same step, before its rows go by way of the client.
	maxReopen = 3
	// maxAsked is the replays and hand-overs of a session that wait: a repair needs one, and another if it fails.
	maxAsked = 4
	// dialTimeout is what reaching the next hop may take: 4 round trips on the worst links, and a wait for a dial.
	dialTimeout = 3 * time.Second
	// dialBurst dials may be made for one client at once, and one more each dialEvery.
	dialBurst = 8
	dialEvery = time.Second / 2
	// namesTimeout is how long a hop waits to hear by which names it may find pages.
	namesTimeout = time.Second
	// earlyFor is how long a frame waits for its session to be opened: the owner opens at all hops at once, and may be
	// nearer to one of them by a second. earlyPerPeer bounds the streams of one peer that wait so.
	earlyFor     = 2 * time.Second
	earlyPerPeer = 64
	// handBytes is how much of a cache is read at once to be handed over: between two passes, 1 ms of copying.
	handBytes = 4 << 20

	// A pass over one token, or over at least prefillRows, tells how fast the node is. A new one weighs 1/16 of what is known
	// of single tokens, some seconds of an answer, and 1/4 of what is known of prompts, which are fewer and longer.
	prefillRows   = 32
	decodeWeight  = 1.0 / 16
	prefillWeight = 1.0 / 4
	// speedMoves is by what part of it a speed must have moved to be announced anew.
	speedMoves = 0.2
)
