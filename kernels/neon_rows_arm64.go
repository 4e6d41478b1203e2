package kernels

// useNEONRows puts its functions into s.
func useNEONRows(s *set) {}
