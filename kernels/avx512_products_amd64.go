package kernels

// useAVX512Products puts its functions into s.
func useAVX512Products(s *set) {}
