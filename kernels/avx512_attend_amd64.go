package kernels

// useAVX512Attention puts its functions into s.
func useAVX512Attention(s *set) {}
