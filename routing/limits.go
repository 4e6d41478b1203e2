package routing

import "time"

// Times of the directory. They are relative to this process's monotonic clock: no peer's wall clock is believed.
const (
	offerLife    = 24 * time.Second // three renewals: two lost ones are survived
	leavingLife  = 5 * time.Second
	renewEvery   = 8 * time.Second // +-10 %, so that nodes started together drift apart
	rereadEvery  = 15 * time.Second
	lateAfter    = 12 * time.Second // of an offer where all are told: its renewal is lost, or was never made
	lateEvery    = 3 * time.Second  // between two looks for such
	keepersFresh = 5 * time.Minute
	keepersYoung = 30 * time.Second // in a swarm below bucketSize, where the nearest change with each newcomer; at first; and after a cut lookup
	rememberFor  = 10 * time.Minute // of (peer, sequence) behind an offer's end, so that nothing dead is revived
	leastAge     = time.Second      // of an offer that another relays
	addrsKept    = 2 * time.Minute  // of an offer's addresses, behind its last renewal

	joinTimeout    = 8 * time.Second // above the 5 s that a wrong swarm key needs to show
	joinGrace      = 500 * time.Millisecond
	knockTimeout   = time.Second // to see whether a peer that says nothing is there at all
	knockDelay     = 200 * time.Millisecond
	requestTimeout = 3 * time.Second // one question to one peer, dialling included
	lookupTimeout  = 3 * time.Second
	hintTimeout    = 300 * time.Millisecond // of a lookup that a waiting client's question starts
	hintedTimeout  = time.Second            // of all questions to peers that were hinted at
	streamTimeout  = 10 * time.Second       // of a stream that a stranger opened
	stragglerGrace = 500 * time.Millisecond
	blobTimeout    = 15 * time.Second // one piece of a blob: 1 MiB at 70 KB/s
	askNext        = time.Second      // of a small blob from one peer, before the next is asked as well
	closeTimeout   = time.Second      // of the last words at Close
	quotaWindow    = time.Minute      // in which a peer's questions for a pledge are counted

	nearAgain   = time.Minute
	nearLife    = 300 * time.Second // that a round trip is told to others
	busyLife    = renewEvery        // that a peer's word of how busy it is counts: then its offer has been renewed
	endsTimeout = time.Second
)

// Numbers of the directory.
const (
	keeperCount = 5
	youngLooks  = 3  // lookups that are soon made again: a process that has just come knows few peers and finds others
	bucketSize  = 20 // peers that a lookup in the DHT finds, if there are so many
	smallSwarm  = 24 // up to so many known peers all are told, and plan together where to serve: 24 puts of 315 bytes each 8 s
	maxJoined   = 32
	maxAsked    = 16 // peers asked at the same time
	maxInfos    = 64 // peers asked about themselves at the same time, of up to 512 that a person looks at
	someAsked   = 3  // known peers asked beside those that were joined

	// maxVersionBytes is what is kept of how a peer calls its program's version: v0.0.0-20261126040506-0123456789ab+dirty has 41.
	maxVersionBytes = 64

	// maxOffers bounds the live offers of all models, maxModelOffers those of one: 4,096 x (2 x 2 KiB sealed + 1 KiB
	// opened) = 20 MiB. maxRemembered bounds the sequences that outlive their offers: 16,384 x 300 bytes = 4.9 MB.
	maxOffers      = 4096
	maxModelOffers = 1024
	maxRemembered  = 16384

	// clearlyMore is how many times as many offers a relay must have told as another, for one of its own to give way to one of
	// the other's. So a relay that comes when a flood has filled a model has a third of it, 1,024 / (1 + 2) = 341 offers, and a
	// flood that comes when honest relays have filled it has half as much as the largest of them.
	clearlyMore = 2

	maxHurries  = 3 // offers that come early from one regular renewal to the next, because somebody knows a higher sequence
	maxDoubtful = 4 // peers of one answer that are asked themselves whether they were born again

	maxDoubts = 64 // peers that wait for somebody to look whether they still are there
	// So often may that be asked of a peer in the long run, and at once: each offer that is not renewed, 8 s, is one time.
	knockRate  = 0.25
	knockBurst = 2

	maxKeptModels = 64 // models whose keepers are remembered

	// Streams from strangers at the same time: each may hold 1 MiB of a list or of a blob.
	maxStreams     = 64
	maxPeerStreams = 8

	maxMeasured = 4096 // peers with a round trip

	// maxSequence is the highest sequence that a peer is believed to have seen of ours: milliseconds of 146 million years.
	maxSequence = 1 << 62

	// maxPledges is a peer's questions for a pledge in a minute: it asks for two runs of layers each 15 s. maxPledgers is the
	// peers that ask.
	maxPledges  = 16
	maxPledgers = 1024

	// A peer may have so many bytes/s of small blobs, and so many at once: the largest manifest and tokenizer several times.
	// Each question counts like getCost bytes: so there are 256 a second, which with 64 KiB each are 16 MiB of a part.
	blobRate  = 4 << 20
	blobBurst = 32 << 20
	getCost   = 16 << 10

	// Each announcement a serving peer measures the ways to nearEach of those whose layers begin where its own end, and to
	// nearEach of those that hold the next layer otherwise, each once in nearAgain; and a client, each time it asks for offers,
	// those to endsEach who begin chains and endsEach who end them.
	nearEach = 5
	endsEach = 3

	maxGets = 1024 // pieces of blobs in one stream: 64 MiB of 64 KiB each, 1 GiB of the largest
)

// What a plan assumes of a peer that has not said or not been measured, and how far it searches.
const (
	unknownRTT  = 50 * time.Millisecond
	unknownRate = 100 // tokens/s through one layer

	// unknownSteps is how many tokens an answer has of which nothing is known.
	unknownSteps = 256

	// nearlyEqual is by how many microseconds a hop may be dearer, or by a quarter, and still be taken for the sake of who
	// meets there: round trips on one machine differ by as much when it is busy.
	nearlyEqual = 10_000

	// busyQueue is the steps that wait at a peer which is not worth waiting for: more than eight sessions at once, which
	// ride along with each other, bring.
	busyQueue = 16

	// strangerCost is added for each layer at a peer that a session does not prefer: above any sum of real times, and
	// 1,024 x 2^40 is still far from the end of 64 bits.
	strangerCost = 1 << 40

	// hopFix is what a hop costs beside its layers and the way to it: reading, checking and queueing a row, handing the
	// result to the next stream. Over loopback, chains of 1, 2 and 6 hops of the bundled model took 0.18, 0.28 and 0.90 ms a token
	// more than their layers (`plan --measure`); where processes wait for a core it is several times that.
	hopFix = 150

	// rowBytes is a row of hidden states of the 13B with its frame, and mostSend what sending one may cost at most: at
	// 1 Mbit/s it takes 82 ms.
	rowBytes = 2*5120 + 64
	mostSend = 1_000_000

	// relayCost is what a relay adds to each row that passes it, beside its way: another process that reads and writes, and a
	// bandwidth that it shares among all whom it serves (4 Mbit/s: 20 ms).
	relayCost = 20_000

	// noRoomCost is what a peer costs that has no room for what the session will reach: it will be evicted, or refused. As
	// Petals has it, 10 s.
	noRoomCost = 10_000_000

	// How far a peer's pace may be taken to be from what it promises: its steps took so many thousandths of what was predicted.
	leastPace = 500
	mostPace  = 4000

	// mostBusy is where busyness counts no further: a thousand times as slow is as good as never.
	mostBusy = 999

	// Bounds of what a peer says of the sessions that it has: rounds until the rows in a pass have settled, and sessions.
	crowdRounds = 12
	maxCrowd    = 1 << 16

	// repairRounds is how often a chain is planned by what its peers say of themselves (Repair). A chain is left for one that
	// is better by a repairMargin-th of its time, and by repairLeast: below that it is noise.
	repairRounds = 4
	repairMargin = 20
	repairLeast  = time.Millisecond

	// leastAhead is how many tokens a session is taken to have before it at least (Worth).
	leastAhead = 64

	// mostSources is how many peers that have a layer done are looked at for the next one: those that can send it soonest. With
	// 1,000 peers no better chain was ever found by looking at all.
	mostSources = 16

	// The search is bounded by count, never by time: all must find the same. A peer that pays twice needs a slow peer with a
	// fast one amid its span; each needs three problems. maxVisits is how many layers at peers are looked at altogether, some
	// milliseconds' worth, but leastProblems are solved in any case.
	maxProblems   = 200
	maxVisits     = 1 << 17
	leastProblems = 4
)

// leastPrefix is the hex digits that can stand for a model's whole id.
const leastPrefix = 8

// maxShownName is how much of a name that a stranger gave is shown.
const maxShownName = 64

// Limits of the host, by libp2p's resource manager. Its defaults refuse the 65th stream of a protocol and peer, and the
// 9th connection from one address, which is every home behind a NAT.
const (
	protocolStreams     = 4096
	protocolPeerStreams = 512
	peerStreams         = 1024
	systemStreams       = 16384
	systemConns         = 1024 // some 100 KB each with their buffers: 100 MB
	subnetConns         = 64   // per IPv4 address or IPv6 /56
	connRate            = 4    // new connections per second, address and burst of 64
	connBurst           = 64
	protocolMemory      = 512 << 20 // 64 streams with a push of 5.2 MB under way, and room

	// A peer may begin so many streams a second, and so many at once: a stream that nothing comes of costs some 0.2 ms, 3 in 100
	// of a core. A gateway opens its 64 sessions anew at once when a hop fails; in the long run a session needs a stream for
	// each answer at most.
	streamRate  = 128
	streamBurst = 1024
	// So often may a peer connect; a handshake costs some 1 ms. One whose network comes and goes needs one each time.
	peerConnRate  = 1
	peerConnBurst = 32
	// maxPaced is the peers that a Pacer remembers, of 80 bytes each, unless more are at it at once.
	maxPaced = 4096

	connsLow   = 192 // the connection manager trims from High down to Low, sparing what is protected
	connsHigh  = 384
	connsGrace = 30 * time.Second

	yamuxWindow = 1 << 20 // a cold MiB at 40 ms arrives after 126 ms instead of 171
	yamuxAlive  = 5 * time.Second
)

// Reachability. A relayed connection may carry a session of a day, and any number of bytes: libp2p's own limits are 2 minutes
// and 128 KiB.
const (
	relayDuration = 24 * time.Hour
	relayBytes    = 1 << 40
	relayCircuits = 64       // of one peer
	relayBuffer   = 64 << 10 // two for each circuit
	relayPlaces   = 512
	relayMemory   = 256 << 20 // 2,048 circuits
	relayTag      = "baichuan.relay"

	// A place is kept as long as its holder is connected, and renewed in any case; it is told by the wall clock, and a holder whose
	// clock is ahead by more than relayKeeps would take it for one that is over. Other relays keep places for an hour.
	relayKeeps = 7 * 24 * time.Hour
	placeYoung = time.Minute
	placeOld   = 25 * time.Minute

	relaysKept     = 2               // places at relays that a peer behind a NAT has
	tendEvery      = 5 * time.Second // how often the places are looked after
	refusedFor     = 30 * time.Second
	reserveTimeout = 5 * time.Second
	settleTimeout  = 3 * time.Second
	routerAnswers  = 7 * time.Second // UPnP's search takes 5, after mapAnswers

	// A router is asked again long before it forgets a port, as it may have been switched off and on.
	mapFor       = 2 * time.Minute
	mapEvery     = 40 * time.Second
	mapAnswers   = time.Second
	maxObservers = 64
	reachEvents  = 1024 // kept while something is done about others: a full bus would hold up all that connect

	punchTimeout      = 5 * time.Second // of a dial to a hole; three are tried
	observeTimeout    = 4 * time.Second
	observeOneTimeout = 2 * time.Second
	directPoll        = 250 * time.Millisecond
	maxIdentify       = 8 << 10
	maxHoles          = 8 // addresses dialled because a peer asks for it

	// A hole that could not be punched is tried again after punchFirst, twice that, and so on; three dials are three times
	// punchTimeout at most. Some NATs can't be punched through, so it is not to cost much.
	punchFirst   = 5 * time.Second
	punchLongest = 5 * time.Minute
	maxPunches   = 64 // peers at once
	cutEvery     = 50 * time.Millisecond
)

// What is remembered of swarms: 16 x 64 peers of up to 8 addresses take some 600 KB at most.
const (
	maxMet      = 64
	maxSwarms   = 16
	maxMemory   = 2 << 20
	followFirst = 2 * time.Second // after the start; others are heard of by then
	followEvery = 10 * time.Second
	keepEvery   = 10 * time.Minute // though nobody new has been met
)

// usualPort is that of libp2p, for who has to choose one.
const usualPort = "4001"

// maxIdentities is how many serve processes of one home find an identity of their own.
const maxIdentities = 64

// swarmKeyBytes is what the standard form of a swarm key holds.
const swarmKeyBytes = 32

// maxKeyBytes bounds an identity file; an Ed25519 key has 68 bytes.
const maxKeyBytes = 4 << 10
