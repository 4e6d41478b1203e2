package parts

import "time"

// Of handing out.
const (
	// bulkShare is the part of the owner's upload that goes to parts and hand-overs: steps find the rest free.
	bulkShare = 0.75
	// maxTakes bounds what is promised to take: it is for how long sessions are served by a node that drains without a
	// deadline, as the wire has it.
	maxTakes = 10 * time.Minute

	// smallPiece is what is sent and asked for at once while sessions live: on an uplink of 20 Mbit/s a step takes 47 ms
	// alone, 68 beside parts that are pulled in pieces of 64 KiB, and 214 beside a download that runs free.
	smallPiece = 64 << 10
	// livePause is what passes between two such pieces: at most 13 MB/s. Sealing and checking them takes processor time as
	// well: with 7B and both ends on two cores, 24 tokens took 8.1 s alone, 14.5 s beside pieces without pauses (42 MB/s),
	// and with them as long as alone.
	livePause = 5 * time.Millisecond
	// leastPiece is what is sent at once at least, whatever the cap: the smallest that is not mostly headers.
	leastPiece = 4 << 10
	// pieceTime is what a piece may take of the owner's cap: so that all who take turns wait no longer than turnWait.
	pieceTime = 250 * time.Millisecond
	// idleSlots is how many pieces are sent at a time while no session lives: as many as keep a fast link busy. 8 of 1 MiB
	// are 8 MiB of memory.
	idleSlots = 8
	// cappedSlots is the same where the owner's cap is the limit: one on its way, and one behind it.
	cappedSlots = 2
	// turnWait is how long a request waits for its turn before it is refused as busy: well below the 15 s after which who
	// asks gives up.
	turnWait = 5 * time.Second
	// wholeWait is the same for the manifest and the tokenizer, which can't go in smaller pieces: one of 1 MiB has to wait 11 s
	// for the one before it at 1 Mbit/s, and has 3 s to arrive.
	wholeWait = 12 * time.Second
	// turnHeld is for how long a piece is thought to be on its way, if its receiver asks for no more: 64 KiB at 0.5 Mbit/s.
	turnHeld = time.Second
	// reopenEvery is how often local.json is looked at for parts that have arrived meanwhile.
	reopenEvery = time.Second
)

// Of fetching.
const (
	// maxJobs is the chunks that are under way at once, each with a buffer of 4 MiB: 64 MiB.
	maxJobs = 16
	// peerJobs is how many of them one peer has: the way to it is busy while a chunk is checked and written.
	peerJobs = 3
	// maxPeers is how many peers a fetch knows: any few of them fill the way here.
	maxPeers = 64
	// hedgeAfter is for how long a chunk has been with one peer, at least, before another is asked for it as well, once there
	// is no chunk left that nobody is asked for; hedgeTimes is how many times as long as a chunk took of that other one.
	hedgeAfter = 2 * time.Second
	hedgeTimes = 4
	// maxAskers is how many peers are asked for one chunk at the same time: a hung one, a slow one and one that works.
	// One more is asked if it has sent a chunk: else three of which nothing comes would keep it for as long as they like.
	maxAskers = 3
	// strangerJobs is how many of them peers have that have sent no chunk, or have failed since: the others are enough for one
	// that works.
	strangerJobs = maxJobs - peerJobs
	// silentAfter is for how long a job gets less than a smallPiece before it no longer counts as the one at a time: at
	// 32 KiB/s a session beside it does not feel another.
	silentAfter = 2 * time.Second
	// leastFor is for how long it gets less than that before it has failed: below 3.2 KiB/s a chunk takes 22 minutes. One peer
	// alone gets 6 KB/s of the least upload that an owner may set, 64 kbit/s, and each of eight 11 KB/s of 1 Mbit/s. One that
	// stands aside for sessions answers in time if it does within the 15 s that an answer may take, after 3 of dialling: with
	// one smallPiece all is made up for.
	leastFor = 20 * time.Second
	// quickPiece is how quickly a piece comes that may be twice as large the next time.
	quickPiece = pieceTime

	// lacksFor is for how long a peer's word counts that a part is not there: it may be fetching the part itself.
	lacksFor = 10 * time.Second
	// restFirst is how long a peer is left alone that failed, restMost after many failures on end: each doubles it.
	restFirst = time.Second
	restMost  = 30 * time.Second

	// describeFor bounds the time in which a manifest and a tokenizer come: 20 MB at 1.3 Mbit/s.
	describeFor = 2 * time.Minute

	// tickEvery is how often is looked for what time has changed: rests that are over, locks that are free.
	tickEvery = 200 * time.Millisecond
	// peersEvery is how often the swarm is asked who is there.
	peersEvery = 5 * time.Second
	// patience is for how long nothing arrives from anybody before a fetch is given up: a node takes some seconds to
	// come back, and the swarm up to 30 to forget a dead one.
	patience = 45 * time.Second
)
