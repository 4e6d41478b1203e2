package measure

import "time"

const (
	// streamBytes is how much memory of one kind an operation goes through in turn, so that what it reads comes from memory:
	// several times the last-level caches of today's PCs.
	streamBytes = 384 << 20
	// templateBytes is the noise that parts are filled with again and again: it stays in the second-level cache, so that
	// filling goes at the speed of memory.
	templateBytes = 256 << 10

	// limitsAge is after how long the limits found after one sample are no longer those before the next.
	limitsAge = 50 * time.Millisecond

	// kernelRounds is how many rounds a kernel's median is taken of, unless they take kernelBudget together; roundTime is how
	// long a kernel runs in a round at least, as the loops for the limits beside it do. A kernel that would take longer than
	// kernelPatience, going by its time for fewer rows, is left out.
	kernelRounds   = 7
	kernelBudget   = 2 * time.Second
	roundTime      = 8 * time.Millisecond
	kernelPatience = 10 * time.Second

	// stepRounds and stepBudget are the same for the steps of a model, all kinds of them together; each is done once, whatever
	// it takes.
	stepRounds = 7
	stepBudget = 40 * time.Second
	// warmUp bounds what a step may be expected to take that is done once more before it counts.
	warmUp = 2 * time.Second

	// hogRounds are decoded quietly and beside a busy process in turns; HogTurn is how long each should last.
	hogRounds = 3
	HogTurn   = time.Second

	// attainable is the share of the integer peak that is asked of matrix products when the machine's limit for a step is told.
	attainable = 0.75

	// A node starts at most speedDecode plus speedPrefill later, after its first token, by measuring its speed: single tokens
	// for up to decodeSteps, and prompts that grow by the factor promptGrowth up to promptRows while the next one fits.
	speedDecode  = 500 * time.Millisecond
	speedPrefill = 1500 * time.Millisecond
	decodeSteps  = 8
	promptRows   = 128
	promptGrowth = 4
)
