package sample

// MaxCandidates is the most candidates that are ever kept (NUMERICS "Sampling"): 1,024 of 12 bytes are a result
// message of 12 KiB.
const MaxCandidates = 1024

// greedyBelow is the temperature under which the first candidate is taken (NUMERICS "Sampling").
const greedyBelow = 0x1p-10
