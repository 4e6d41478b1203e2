package placement

import "time"

// What a placement is rated by.
const (
	leastDemand  = 64                    // sessions: a swarm that is quiet now is still built for a crowd
	maxDemand    = 1 << 20               // so that times fit into 63 bits
	maxProbes    = 6                     // clients whose tokens are timed
	maxSources   = 16                    // hops from which a chain may come to the next: more change nothing
	maxTimed     = 512                   // peers among whom chains are timed, the sample the same for all
	hopCost      = time.Millisecond      // of one more hop, beside the way there
	unknownRTT   = 50 * time.Millisecond // of a pair that nobody has measured
	unknownRate  = 100                   // layers/s of a peer that has not said
	gapCost      = time.Second           // of a layer that nobody serves, so that chains can be compared all the same
	maxCoarse    = 1 << 40               // above any rate and any round trip in nanoseconds
	noThroughput = time.Hour             // of a token where nothing is served at all
)

// When a peer moves.
const (
	lookEvery   = 5 * time.Second
	leastGain   = 50 // thousandths of J, doubled with each of the own moves in moveMemory
	moveMemory  = 30 * time.Minute
	largeGain   = 200 // above it looksLarge running suffice
	middleGain  = 100
	nearly      = 75 // percent of the best gain, for which the last look's wish is kept
	looksLarge  = 3
	looksMiddle = 4
	looksSmall  = 5
	turnEvery   = 15 * time.Second // between those who could fill a gap: until all have seen who has begun to
	maxTurns    = 3                // after them everyone goes who can
	maxRanked   = 32               // peers up to which the best fillers of a gap are found by J
)

// How a peer leaves layers that it holds.
const (
	pledgeAgain  = 15 * time.Second // between two questions
	pledgeWithin = 3 * time.Minute  // without them the move is off
	pledgeLife   = 2 * time.Minute  // that a peer stays when it has given its word
	pledgeFresh  = 10 * time.Second // an older word is asked for again: who gave it may have died since
	pledgeSlack  = time.Second      // from the decision to leave until it is done
	gapSure      = 30 * time.Second // longer than any offer lives
	maxPromises  = 64               // that a peer gives
)

// How far searches go.
const (
	maxJoint     = 24 // peers up to which all are placed together
	moversAtOnce = 4  // that a larger swarm draws in each look
	jointRounds  = 600
	roughly      = 20   // thousandths of J, by which a rough look may err
	nearlyBest   = 50   // thousandths of J above the best, within which what lasts counts
	onTheWay     = 300  // thousandths of J, by which a plan may make a swarm worse before it is done
	deathShare   = 50   // percent of a rating that is about what is left after a death, where peers come and go
	calmCost     = 1500 // thousandths of J, by the square of the number of peers, that each move of a plan must bring where nobody has come or gone for calmAfter
	busyCost     = 44   // elsewhere, however many there are: what moves bring there does not last
	calmAfter    = 75 * time.Second
	planFor      = 5 * time.Minute // that a plan may take
	planLooks    = 3               // at the swarm that it is for, before it begins, where all may not see the same
	freeMoves    = 4               // of a peer in moveMemory, before its part of a plan must be worth more
	maxPlans     = 8               // that are remembered
	placeRounds  = 200
	jointSeed    = 0x62616963
	aimAbove     = 16       // the aim of a search is this part above what was reached
	maxLack      = 94906265 // thousandths of tokens/s: its square, 1,024 times, fits into 63 bits
)
