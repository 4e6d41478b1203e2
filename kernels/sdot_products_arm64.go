package kernels

// useSDOTProducts puts its functions into s.
func useSDOTProducts(s *set) {}
