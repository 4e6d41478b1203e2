package kernels

// useAVX2Rows puts its functions into s.
func useAVX2Rows(s *set) {}
