package kernels

// useAVX2Attention puts its functions into s.
func useAVX2Attention(s *set) {}
