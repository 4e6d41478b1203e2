package kernels

// useAVX512Rows puts its functions into s.
func useAVX512Rows(s *set) {}
