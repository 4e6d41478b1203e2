package auto

import "time"

const (
	// PledgeFor is how long a peer is asked to stay, and the longest for which this one gives its word: as long as package
	// placement holds to it.
	PledgeFor = 2 * time.Minute
	// maxAsked bounds the peers that are asked at the same time.
	maxAsked = 16
	// rivalFor is how long after its announcement a newcomer gives way to one that came at the same time: an offer reaches
	// a small swarm in a round trip, and what has been loaded by then is little.
	rivalFor = 3 * time.Second
	// restFirst is how long a node rests after a load that failed, twice as long after each that follows, up to restMost.
	restFirst = 30 * time.Second
	restMost  = 10 * time.Minute
	// restLater is the most where others only have to come back: layers may have no host until then.
	restLater = time.Minute
	// pausedPoll is how often a paused node looks whether it has been resumed.
	pausedPoll = time.Second
	// easeTimes is how much longer than a decision takes nothing is decided after it, up to easeMost: among 1,000 peers one
	// takes 0.2 s, and something changes every second.
	easeTimes = 20
	easeMost  = 5 * time.Second
	// leastWait keeps a driver that is always told to decide again at once from taking a processor for itself.
	leastWait = 10 * time.Millisecond
)
