package kernels

// Declared here and not in the test that calls them, because go vet looks for them without the tests.

//go:noescape
func nf4RowEVEX(dst *float32, codes, scales *byte, acts *int8, actScales *float32, starts *int32, blocks int)

//go:noescape
func int8RowEVEX(dst *float32, codes, scales *byte, acts *int8, actScales *float32, starts *int32, blocks int)

//go:noescape
func addRowsEVEX(dst *float32, codes *byte, blockBytes int, scales *byte, acts *int8, actScales *float32,
	starts *int32, blocks, rows int, work *tileWork)

func codeOfVNNI() (vex, evex [3]uintptr)
