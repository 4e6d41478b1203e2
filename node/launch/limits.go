package launch

import "time"

const (
	// readyTimeout: a quarter of the 13B is 1.8 GB, 20 s from a slow disk; its self-test in plain Go takes as long
	// again; three such processes may start at once.
	readyTimeout = 2 * time.Minute
	// readyPoll is how often a ready file is looked for: a twentieth of the quickest start.
	readyPoll = 20 * time.Millisecond
	// stopGrace: a node answers what it has begun (a chunk of 512 tokens takes seconds), then withdraws.
	stopGrace = 10 * time.Second
	// pipeDelay bounds the wait for a dead child's standard error, which a process of its own may still hold open.
	pipeDelay = 500 * time.Millisecond
	// maxReady: a peer, 8 addresses of 200 bytes and a few words are 2 KiB; 64 KiB leaves room for keys to come.
	maxReady = 64 << 10
	// maxTail is how much of a child's standard error is kept, and quotedLines how many lines of it an error shows.
	maxTail     = 4 << 10
	quotedLines = 3
)
