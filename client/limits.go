package client

import "time"

const (
	// maxTries bounds how often one step is begun on a new chain before its failure is the user's: four replacements
	// in a row mean that the swarm is falling apart, or that we are.
	maxTries = 5

	// banFirst and banLongest are the bans of a peer that failed: 15 s, doubled up to 10 minutes.
	banFirst   = 15 * time.Second
	banLongest = 10 * time.Minute

	// pauseFirst is how long a peer is left alone that asks to be asked again: the chain's other copies come first, but
	// a swarm without any is worth the wait. It doubles up to pauseLongest: 0.25 + 0.5 + 1 + 2 s before the last try.
	pauseFirst   = 250 * time.Millisecond
	pauseLongest = 2 * time.Second

	// maxDoublings keeps the doubling inside a Duration: 15 s << 10 is 4 h. maxBans bounds the peers that are remembered.
	maxDoublings = 10
	maxBans      = 4096

	// dialLimit is for a connection and a stream to a hop: TCP's third SYN leaves after 3 s, a relayed dial with its
	// handshakes takes some 5 s. It is below the 10 s in which a hop must have answered an open, so that it is told what
	// was in the way.
	dialLimit = 8 * time.Second

	// writeLimit is for a frame, beside the time that its bytes take on a link of writeRate bytes/s (1 Mbit/s).
	writeLimit = 5 * time.Second
	writeRate  = 1 << 17

	// closeLimit is how long goodbyes may take. A peer that does not get one notices the closed stream.
	closeLimit = 500 * time.Millisecond

	// queueFrames is how many frames may wait for a hop: two steps, the opens of one turn, a close, and room for turns
	// that were given up before their frames were written.
	queueFrames = 16

	// findLimit is for one look into the directory, fetchLimit for a manifest (200 KB) and a tokenizer (2 MB) together.
	findLimit  = 10 * time.Second
	fetchLimit = time.Minute

	// expectAnswer is how much of an answer's limit peers are asked to keep room for: most answers are shorter, longer
	// ones get more as they grow, and a limit of the whole context must not fill a peer's cache with nothing.
	expectAnswer = 512

	// maxName is how much of a name that a stranger gave is shown.
	maxName = 64

	// maxStops and maxStopBytes bound what each new piece of text is compared with.
	maxStops     = 64
	maxStopBytes = 4096
)
