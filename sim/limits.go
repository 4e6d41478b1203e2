package sim

import "time"

const (
	// stepLimit ends a step that does not end: the longest, a crowd, takes a minute on two cores.
	stepLimit = 4 * time.Minute
	// answerLimit is for an answer: a session waits 30 s for missing layers, and computes a second.
	answerLimit = time.Minute
	// busyTimes is how often as long things may take where others keep the machine busy, as in tests.
	busyTimes = 5
	// hangLimit is what a hung hop may cost: 1.5 s until it is taken for hung, and a replay.
	hangLimit = 2 * time.Second
	// promptLimit is what the prompt takes by itself, on a busy machine.
	promptLimit = 500 * time.Millisecond
	// graceLimit is for a node to leave in while nodes beside it die: its sessions may have to be moved more than once.
	graceLimit = 8 * time.Second
	// leaveLimit is what a node may take whose sessions can go elsewhere: they do within moments.
	leaveLimit = 4 * time.Second
	// loadPause is how long swarms under load are let alone between two blows: some answers take as long.
	loadPause = 400 * time.Millisecond
	// shortBlows is what happens to a crowd in the short form: a machine that takes longer than loadPause for a replay gets its
	// answers in the end.
	shortBlows = 8
	// shortHold is how long a node may be held up without being taken for hung; longHold is beyond that, and beyond hangLimit.
	shortHold = 400 * time.Millisecond
	longHold  = 2500 * time.Millisecond
	// A soak takes so long, and something happens to a node about every soakPause. Sessions that nobody has ended are
	// forgotten after soakIdle, so that their end can be waited for.
	soakLong      = 30 * time.Minute
	soakShort     = 6 * time.Second
	soakPause     = 2 * time.Second
	soakIdle      = 20 * time.Second
	soakIdleShort = 4 * time.Second
	// settleLimit is for what ends by itself in an idle swarm, such as connections to peers that are gone; settlePoll is
	// how often it is looked at.
	settleLimit = 20 * time.Second
	settlePoll  = 50 * time.Millisecond
	// countPoll is how often a counter is looked at: a pass of 64 tokens takes some 5 ms.
	countPoll = 2 * time.Millisecond
	// countLimit is for a node to tell its counters; maxMetrics bounds them: 30 KiB today.
	countLimit = 2 * time.Second
	maxMetrics = 1 << 20
	// cacheTokens lets a single node bear the whole crowd: eight clients, to each of which a context is promised.
	cacheTokens = 8 * 1024
	// maxFaults is the kinds of faults that a step tells of.
	maxFaults = 20
	// spanLayers is how many of the bundled model's six layers a node holds: three hops.
	spanLayers = 2
)
