package kernels

// useNEONProducts puts its functions into s.
func useNEONProducts(s *set) {}
