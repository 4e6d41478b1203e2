package node

import (
	"time"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

const (
	// stepsInFlight is what a session may have waiting or running.
	stepsInFlight = protocol.MaxStepsInFlight
	// Figures below are of 4 layers of the 7B in nf4 on two cores of Zen 4, from `bench model` and `bench swarm`: a token
	// takes 14 ms, 4 take 16, 5 take 20, 8 take 24-28, 16 take 44-48; from 32 on it is 2.7 ms for each.

	// batchRows bounds the tokens of one pass: a prompt's chunk, and the steps of hundreds of sessions that decode. Beyond
	// some 32 they gain nothing by being together, so the bound is that of the memory for a pass.
	batchRows = protocol.MaxStepRows
	// chunkAlone is the most tokens of prompts in one pass: prompts go at 380, 375, 379, 376 and 350 tokens/s in chunks of
	// 32, 64, 128, 256 and 512, and a new step waits for the chunk before it: 64 take 1.4 s if all 32 layers are here.
	//
	// Beside steps that decode there are as many as pace.beside says, a multiple of chunkStep, which kernels like: on that
	// machine 4. Then 95 of 100 tokens beside a prompt of 2,000 come within 1.4-2.0 times the usual time at one node, 2.1-2.4
	// at two that share the cores (6: 1.8 at one; 8: 2.6 and 3.3; 16: 7), and the prompt takes 1.8-2.0 times as long (6: 1.5;
	// 8: 1.4). At most 2.5 times is what is asked.
	chunkAlone = 64
	chunkStep  = 4
	// crowdTokens is what a peer's other sessions have together in a pass beside its first, if others decode: so the one session of
	// another peer finds little beside its own, two steps, whose time is 16 ms instead of 14, or pace.beside tokens of one. With
	// as many for the crowd it waited 20, and a model that the processor's caches hold takes almost as long for each token.
	crowdTokens = 1
	// decodingFor is how long after a short step a session counts as decoding: a round through the chain and back.
	decodingFor = 2 * time.Second
	// A pass is put off for sessions that decode and are about to be back by at most a gatherPart of what the pass before
	// took: one that comes t later would otherwise wait p - t longer, those that are here lose t, so it is worth it up to
	// p / 2. Without it two clients take turns and get no more than one (1.0 times the tokens/s; with it 1.8), eight get 3.2
	// times (4.6). gatherSlack is for what the clock of a busy machine adds to the usual.
	gatherPart  = 2
	gatherSlack = time.Millisecond
	// logitRows is how many rows of logits are made and sent at once: 8 x 125,696 x 4 bytes = 4.0 MB.
	logitRows = protocol.MaxResultRows

	// streamsPerPeer stays below the 256 that QUIC allows on a connection, so that the directory still gets through.
	streamsPerPeer = 192

	// A peer may send so many frames a second that ask for more than computing does, or that are refused, and so many at once;
	// then its streams are read more slowly. 64 sessions ping 128 times a second; each frame takes some 50 us.
	askRate  = 512
	askBurst = 2048
	// openCost is what an open counts: the next hop's signature is checked, 145 us.
	openCost = 4

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

	// What the node says of how busy it is: the share of the time in which the device computed is that of busySeconds, what
	// steps waited that of stepSeconds. A session that was opened counts for openedFor before it has had a step. unknownWays is
	// how long one is on its way between two steps here, if none has been seen.
	busySeconds = 10
	stepSeconds = 4
	openedFor   = 10 * time.Second
	unknownWays = 50 * time.Millisecond

	// drainPoll is how often a draining node looks whether it is done.
	drainPoll = 20 * time.Millisecond
	// drainFor is the default of Config.DrainFor. A hand-over is worth it while it is quicker than a replay: 4,096 tokens
	// through 16 layers of the 7B are 33 s at 2,000 tokens/s and layer. That twice, and less than the 90 s after which
	// systemd kills.
	drainFor = time.Minute
	// restsFor is how long nothing was done for a session, and its owner asked for nothing, before a node leaves without it. An
	// owner that waits for a step pings each second; one that can go elsewhere has begun to after 0.2 s and a few round trips.
	restsFor = 5 * time.Second
	// maxBerths is how many shards a node holds at once: each beyond the current one takes a cache and 40 MB of scratch, and
	// its sessions may last for hours.
	maxBerths = 3

	// maxDrain is for how long sessions are served by a node that drains without a deadline, as the wire has it.
	maxDrain = 10 * time.Minute

	// replayRows is the rows of a frame that is replayed: 2.6 MB at the 13B's hidden size. Reading them puts a pass off by
	// 0.4 ms (BenchmarkCopies), and who computes them sends them on after 4 chunks.
	replayRows = 256
	// maxReopen is how often a push stream is opened anew for the same step, before its rows go by way of the client.
	maxReopen = 3
	// maxAsked is the replays and hand-overs of a session that wait, and the opens: a repair needs one, and another if it
	// fails.
	maxAsked = 4
	// maxDropped is the sessions that have ended and are freed after the pass that is computed: who opens and closes in a loop
	// waits then. Each is some 17 KB of ids and a goroutine.
	maxDropped = session.DefaultTotal
	// dialTimeout is what reaching the next hop may take: 4 round trips on the worst links, and a wait for a dial.
	dialTimeout = 3 * time.Second
	// dialBurst dials may be made for one client at once, and one more each dialEvery.
	dialBurst = 8
	dialEvery = time.Second / 2
	// dialPoll is how often a session that has to wait for its dial looks whether it is still needed.
	dialPoll = time.Second / 20
	// namesTimeout is how long a hop waits to hear by which names it may find pages.
	namesTimeout = time.Second
	// earlyFor is how long a frame waits for its session to be opened: the owner opens at all hops at once, and may be
	// nearer to one of them by a second. earlyPerPeer bounds the streams of one peer that wait so.
	earlyFor     = 2 * time.Second
	earlyPerPeer = 64
	// handBytes is how much of a cache is read at once to be handed over: between two passes, 0.6 ms of copying
	// (BenchmarkCopies: 6.5 GB/s), where a pass through 4 layers of the 7B takes 14 ms.
	handBytes = 4 << 20

	// maxChores is how many sessions' caches are read or written between two passes: 4 x 0.6 ms.
	maxChores = 4

	// A pass over one token, or over at least prefillRows, tells how fast the node is. A new one weighs 1/16 of what is known
	// of single tokens, some seconds of an answer, and 1/4 of what is known of prompts, which are fewer and longer.
	prefillRows   = 32
	decodeWeight  = 1.0 / 16
	prefillWeight = 1.0 / 4
	// speedMoves is by what part of it a speed must have moved to be announced anew.
	speedMoves = 0.2
)
