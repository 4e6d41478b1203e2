package main

import (
	"os"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// kernelsEnv names the set of CPU kernels to use instead of the fastest.
const kernelsEnv = "BAICHUAN_KERNELS"

// newDevice gives the device that computes, on so many threads (0: all).
func newDevice(threads int) (*kernels.CPU, error) {
	if threads < 0 || threads > maxThreads {
		return nil, usagef("--threads %d: want 1 to %d, or 0 for all cores", threads, maxThreads)
	}
	device, err := kernels.NewCPUWith(os.Getenv(kernelsEnv), threads)
	if err != nil {
		return nil, usagef("%s: %w", kernelsEnv, err)
	}
	return device, nil
}
