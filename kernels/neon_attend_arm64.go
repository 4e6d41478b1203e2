package kernels

// useNEONAttention puts its functions into s.
func useNEONAttention(s *set) {}
