package client

import "time"

const (
	// maxTries is how often a chain is mended at once before anything is computed on it. So many replacements in a row mean that
	// the swarm is falling apart, or that we are: then some time passes between two of them, and in the end the failure is the
	// user's.
	maxTries = 16

	// cutOffWithin is how soon after one connection all others must have broken for it to be this machine's network.
	cutOffWithin = 10 * time.Millisecond

	// maxAgain is how often a peer whose stream ends, on a connection that lives, is reached anew before another takes its
	// place, as long as nothing is computed.
	maxAgain = 2

	// defaultGrace is how long a session waits for somebody who serves what is missing.
	defaultGrace = 30 * time.Second

	// idleAfter is how long a session must be out of use before it is looked after: longer than a reader takes between
	// two tokens.
	idleAfter = 200 * time.Millisecond

	// maxHeldPages bounds the names of pages whose peers are remembered, twice: 2 x 8,192 x some 100 bytes are 1.6 MB, and
	// 128 conversations of 4,096 tokens.
	maxHeldPages = 8192

	// recently is how old the last look into the directory may be for another to be left out, when a hop has failed.
	recently = 5 * time.Second

	// refreshEvery is how often a session that is used asks the directory: offers live 24 s, and a look takes findLimit at
	// most.
	refreshEvery = 10 * time.Second

	// A hop that is leaving, and whose place nobody can take, stays for its grace time, a minute or so: the session looks for
	// a successor each remindEvery among those it knows, and asks the directory each refreshSoon, which costs it a frame to
	// each neighbour.
	remindEvery = 250 * time.Millisecond
	refreshSoon = time.Second

	// lookFirst is how long a session goes on at least before it looks for a better chain again, and lookMore by how much longer
	// at most: they are not to look all at once. What is saved must be leastSaving a token at least: below that it is noise. A
	// new token weighs a paceWeight-th in what a session takes a token to take.
	lookFirst   = 15 * time.Second
	lookMore    = 30 * time.Second
	leastSaving = 2 * time.Millisecond
	paceWeight  = 8

	// banFirst and banLongest are the bans of a peer that failed: 15 s, doubled up to 10 minutes.
	banFirst   = 15 * time.Second
	banLongest = 10 * time.Minute

	// pauseFirst is how long a peer is left alone that has no room: the chain's other copies come first, but a swarm
	// without any is worth the wait. It doubles up to pauseLongest.
	pauseFirst   = 250 * time.Millisecond
	pauseLongest = 2 * time.Second

	// waitFirst and waitLongest are how long a session that waits for missing layers lets pass before it looks again,
	// pollLimit is for that look: a newcomer is found within a second of its announcement.
	waitFirst   = 250 * time.Millisecond
	waitLongest = 500 * time.Millisecond
	pollLimit   = time.Second

	// mercyFirst is how long a banned peer that is the only one left is let alone after its second failure: one that was
	// stopped for some seconds is found again within the grace time. It doubles up to mercyLongest.
	mercyFirst   = 2 * time.Second
	mercyLongest = 8 * time.Second

	// maxDoublings keeps the doubling inside a Duration: 15 s << 10 is 4 h. maxBans bounds the peers that are remembered.
	maxDoublings = 10
	maxBans      = 4096

	// dialLimit is for a connection and a stream to a hop: TCP's third SYN leaves after 3 s, a relayed dial with its
	// handshakes takes some 5 s. It is below the 10 s in which a hop must have answered an open, so that it is told what
	// was in the way.
	dialLimit = 8 * time.Second

	// spareDial is how long connecting to a hop may take, beside four round trips, where others serve the same layers:
	// as long as a silent hop is waited for. unknownRTT is for a peer that has answered nothing yet, nearRTT for one at a
	// loopback address, whose answers are late only because the machine is busy.
	spareDial  = 1500 * time.Millisecond
	unknownRTT = 250 * time.Millisecond
	nearRTT    = 20 * time.Millisecond

	// A hand-over is worth its while if it takes no longer than computing the cache again. It may take moveFirst and
	// moveFactor times what was expected before it is given up. One that failed before moveFirst was over is begun anew, in all
	// maxMoves times: a peer's address may have been that of its last run. unknownRate is the bytes/s between peers that have not
	// said how much they can send, 8 Mbit/s, nearRate between peers near to us.
	moveFirst   = 2 * time.Second
	moveFactor  = 4
	maxMoves    = 3
	unknownRate = 1 << 20
	nearRate    = 1 << 24

	// writeLimit is for a frame, beside the time that its bytes take on a link of writeRate bytes/s (1 Mbit/s).
	writeLimit = 5 * time.Second
	writeRate  = 1 << 17

	// closeLimit is how long goodbyes may take. A peer that does not get one notices the closed stream.
	closeLimit = 500 * time.Millisecond

	// queueFrames is how many frames may wait for a hop: two steps, the opens of one turn, pings, a close, and room for
	// turns that were given up before their frames were written. queueEvents is how many answers may wait for us.
	queueFrames = 16
	queueEvents = 64

	// findLimit is for one look into the directory, fetchLimit for a manifest (200 KB) and a tokenizer (2 MB) together.
	findLimit  = 10 * time.Second
	fetchLimit = time.Minute

	// expectAnswer is how much of an answer's limit peers are asked to keep room for: most answers are shorter, longer
	// ones get more as they grow, and a limit of the whole context must not fill a peer's cache with nothing.
	expectAnswer = 512

	// maxName is how much of a name that a stranger gave is shown.
	maxName = 64

	// maxTop is how many likeliest tokens are looked for at each position: by insertion, so few.
	maxTop = 32

	// maxTimeline is the steps of an answer whose times are kept: an even number, of some 300 bytes of JSON each.
	maxTimeline = 1024

	// maxStops and maxStopBytes bound what each new piece of text is compared with.
	maxStops     = 64
	maxStopBytes = 4096
)
