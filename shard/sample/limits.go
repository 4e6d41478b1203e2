package sample

// MaxCandidates is the most candidates that are ever kept (NUMERICS "Sampling"): 1,024 of 12 bytes are a result
// message of 12 KiB.
const MaxCandidates = 1024
