package probe

import "time"

const (
	// memoryBytes is read in turn: 4 runs, so that what a run reads has left even a last-level cache of 128 MiB.
	memoryBytes = 4 * runBytes
	// runBytes is what one run reads: some 2 ms of 30 GB/s, so that starting the threads (some us) does not count.
	runBytes = 64 << 20
	// chunkBytes is what a thread reads at a time: some 10 us.
	chunkBytes = 256 << 10
	// readStep is what the loops in assembly read each time round.
	readStep = 512
	// pageBytes is the smallest page of memory that any system has.
	pageBytes = 4096

	// unitTime is how long a thread computes at a time: assembly is not interrupted, and the collector waits for it.
	unitTime = 20 * time.Microsecond
	// runUnits is how many units of a computing loop a thread does in one run: 1 ms at least.
	runUnits = 50
	// runs is how many runs the best is taken of.
	runs = 3
)
