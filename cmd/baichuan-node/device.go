package main

import (
	"os"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// kernelsEnv names the set of CPU kernels to use instead of the fastest.
const kernelsEnv = "BAICHUAN_KERNELS"

// newDevice gives the device that computes, on so many threads (0: all).
func newDevice(threads int) (*kernels.CPU, error) {
	if err := checkThreads(threads); err != nil {
		return nil, err
	}
	device, err := kernels.NewCPUWith(os.Getenv(kernelsEnv), threads)
	if err != nil {
		return nil, usagef("%s: %w", kernelsEnv, err)
	}
	return device, nil
}

// checkThreads tells whether --threads makes sense.
func checkThreads(n int) error {
	if n < 0 || n > maxThreads {
		return usagef("--threads %d: want 0 (all) to %d", n, maxThreads)
	}
	return nil
}
