package main

import "time"

const (
	// waitingEvery is how often a user is told that an answer waits for a peer.
	waitingEvery = 5 * time.Second

	// lookTimeout bounds one look at a swarm: two rounds of questions of 3.5 s, and one to every peer of 3 s.
	lookTimeout = 10 * time.Second

	// maxDoctorModels bounds the models of a swarm that doctor looks at: each is a manifest and a tokenizer to fetch.
	maxDoctorModels = 8
	// watchEvery is how often status --watch looks.
	watchEvery = time.Second
	// defaultColumns and defaultLines are the size of a terminal that does not tell.
	defaultColumns, defaultLines = 80, 24
	// maxCells is the width of a layer in status' bar at most: 40 layers take a line of 80 columns, 6 no more than 48.
	maxCells = 8
	// maxNickColumns and maxDeviceColumns are what is shown of a nick (of 64 bytes at most) and a device (of 128).
	maxNickColumns, maxDeviceColumns = 16, 20

	// firstPort and somePorts are where serve listens by default: beside the well-known ports, and below those that systems
	// choose for connections that leave.
	firstPort, somePorts = 20000, 10000

	// lanTimeout is how long a client without an address listens for peers in its local network; they answer at once.
	lanTimeout = 2 * time.Second

	// reachTimeout is how long doctor waits for peers that try to get through: AutoNAT begins some seconds after the start.
	reachTimeout = 6 * time.Second
	reachPoll    = 200 * time.Millisecond
	// clockSlack is how far this machine's clock may be from others' before doctor says so. maxClock is the highest sequence
	// that it takes for milliseconds: those of the year 9999.
	clockSlack = 2 * time.Minute
	maxClock   = 253402300799000

	// controlTimeout is what a serve process may take to answer pause and resume at all: it does nothing else for it.
	controlTimeout = 3 * time.Second
	// progressEvery is how often it tells then how many sessions are left.
	progressEvery = 200 * time.Millisecond
	// pauseFor is the default of pause --timeout: a hand-over takes seconds at most, a long answer that can go nowhere minutes.
	pauseFor = time.Minute
	// resumeFor bounds a resume: telling the swarm of the offer takes 3 s at most.
	resumeFor = 15 * time.Second
	// runDir is the folder of the home where serve processes say how to reach them.
	runDir = "run"
	// maxServing bounds the file of a running process: a secret, a peer and a few words.
	maxServing = 16 << 10

	// maxPromptBytes bounds a prompt that is read: a context of 2^16 tokens of 64 bytes each.
	maxPromptBytes = 4 << 20
	// maxLine bounds a line of a chat's input: 16 times the 4,096 tokens of a context at 16 bytes each.
	maxLine = 1 << 20

	// defaultMaxTokens is what the published chat models recommend.
	defaultMaxTokens = 2048

	// defaultContexts is how many sequences of the model's whole context fit the cache by default. The memory is taken
	// as it is used.
	defaultContexts = 4

	// restBytes is what a node takes beside its weights and cache: scratch (30 MB for the 7B, 40 MB for the 13B), the
	// network's buffers, Go's own memory.
	restBytes = 100 << 20

	// loadRate is how many bytes of weights are loaded in a second, until some were: a disk's rate.
	loadRate = 200 << 20

	// maxThreads bounds the threads that compute: more than the largest machines have processors. With 5,000 on 2 of them a
	// model of 7 million weights was not measured within a minute.
	maxThreads = 1024

	// leastMemory is what a machine needs for a layer of the 7B (110 MiB) beside its system and the program.
	leastMemory = 1 << 30
	// bytesOf7B and opsOf7B are what a token of Baichuan 2 7B in nf4 takes: 32 layers of 202.4 million weights with 4.25
	// bits and a head of 515 million with 8.25; two operations for each weight of a layer (of a prompt's tokens only the
	// last needs the head).
	bytesOf7B = 32*202.4e6*4.25/8 + 514.9e6*8.25/8
	opsOf7B   = 2 * 32 * 202.4e6

	// maxClients bounds those of bench swarm; a node takes 256 sessions. answerCache is the tokens of cache for each: two
	// seconds of an answer, and what is promised to it.
	maxClients  = 128
	answerCache = 1024
	// A vocabulary that is made up has a multiple of vocabStep ids, and at least those of its tokenizer.
	vocabStep  = 64
	leastVocab = 4096
	// What is asked of a swarm: barClients at once get barTimes the tokens/s of one, or where arithmetic is the limit have
	// one at most barLimit times as high; and 95 of 100 tokens beside a long prompt come after barGap times the usual time.
	barClients = 8
	barTimes   = 3.0
	barLimit   = 1.25
	barGap     = 2.5

	// maxCopies bounds the demo's processes: 8 x 4 on one machine.
	maxCopies = 8
)
