package probe

import "time"

const (
	// runChunks are read in one run, 256 MiB in all: some 9 ms of 30 GB/s, so that starting the threads (some us) does not
	// count, and several times the last-level cache of today's PCs, so that nothing of one run is left for the next.
	runChunks = 1024
	// chunkBytes is what a thread reads at a time: some 10 us.
	chunkBytes = 256 << 10
	// memoryBytes is what a probe has of its own to read.
	memoryBytes = runChunks * chunkBytes
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
