package kernels

// useAVX2Products puts its functions into s.
func useAVX2Products(s *set) {}
