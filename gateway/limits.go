package gateway

import "time"

const (
	// maxBody is a request's size: a context of 4,096 tokens is some 20 KB of text, so that long conversations, escaped
	// as JSON may be, and arrays of prompts fit.
	maxBody = 1 << 20
	// bodyTimeout is what a body may take: 1 MiB at 0.3 Mbit/s.
	bodyTimeout = 30 * time.Second
	// drainBytes and drainTimeout are for what a refused client is still sending: it may read the answer only after that.
	drainBytes   = 64 << 20
	drainTimeout = 10 * time.Second
	// serverDrains is a body that net/http takes off the line by itself before it answers.
	serverDrains = 64 << 10

	// headerTimeout and maxHeader are for a request's head, idleTimeout for a connection between two requests.
	headerTimeout = 10 * time.Second
	maxHeader     = 64 << 10
	idleTimeout   = 2 * time.Minute
	// writeTimeout is what a piece of an answer may take: a client that does not read is one that has left.
	writeTimeout = 30 * time.Second
	// leaveTimeout is what running answers are given when the server is asked to stop.
	leaveTimeout = 3 * time.Second

	// maxRequests is how many requests are answered at once by default; each holds a session at every peer of its chain
	// for each of its choices that run.
	maxRequests = 128
	// sideBySide is how many choices of one request run at once: 2 to 4 rows of a pass cost a peer little more than one.
	sideBySide = 4
	// maxN is the choices of a prompt, maxChoices those of a request that has several prompts.
	maxN       = 16
	maxChoices = 128
	// maxTop is the likeliest tokens beside each token.
	maxTop = 20
	// maxTemperature is the end of OpenAI's range.
	maxTemperature = 2
	// defaultTokens is the limit of an answer where neither request nor model name one; plainTokens is OpenAI's for
	// completions.
	defaultTokens = 2048
	plainTokens   = 16

	// idleFor is how long a session is kept for the conversation's next turn, maxIdle how many are. After that its full
	// pages can still be found at the peers, by their names, as long as they have room for them.
	idleFor = 30 * time.Second
	maxIdle = 32
	// promised is what peers keep for a session beside what it holds: client.Options.MaxTokens of it, 512 at most.
	promised = 512
	// openGrace is how long an answer that has not begun waits for peers that are missing or full: a person waits so long.
	// One that has begun waits for client.SessionConfig.Grace.
	openGrace = 5 * time.Second
	// busyGrace is how long it waits for room that answers of ours take up: some of them end in that time.
	busyGrace = 20 * time.Second
	// fullFor is how long after a peer had no room no session is kept.
	fullFor = 10 * time.Second
	// retryAfter is what a client is asked to wait then: peers renew their offers each 8 s.
	retryAfter = 5 * time.Second

	// paceChunks are those that an answer's present pace is measured by: what a reader sees change, and no flicker.
	paceChunks = 24

	// maxPlaces is how many hops of a chain have metrics of their own: each has three histograms of 13 series.
	maxPlaces = 16

	// maxLogged is how much of what a client can choose is in a line of the log.
	maxLogged = 256

	// keysEvery is how often the file of keys is looked at, if requests come.
	keysEvery = time.Second
	// maxKeys and maxKeyFile bound that file: 100 bytes a line.
	maxKeys    = 10000
	maxKeyFile = 1 << 20
	// maxRate is a key's requests a second at most.
	maxRate = 1e6

	// lookAgain is how old a look at the swarm may be for whoever asks once.
	lookAgain = 2 * time.Second
	// liveEvery is how often there is a look while somebody watches the map, liveEach by how much seldomer for each peer: all
	// of them are asked each time, so 32 a second at most, however many watch.
	liveEvery = time.Second
	liveEach  = time.Second / 32
	// maxAsked is how many peers are asked how they are doing; of others there is what they offer. A question is 200 bytes.
	maxAsked = 512
	// maxWatchers is how many pages are told what changes: at 200 peers each takes 140 KB every 6 s.
	maxWatchers = 256
	// heartbeat is how often something is sent to them: proxies end what is silent for a minute.
	heartbeat = 15 * time.Second
	// watchEvery is how often the swarm is asked though nobody looks: offers live 24 s.
	watchEvery = 10 * time.Second
	// swarmTimeout is for each time.
	swarmTimeout = 10 * time.Second
)
