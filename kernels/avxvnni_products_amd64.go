package kernels

// useAVXVNNIProducts puts its functions into s.
func useAVXVNNIProducts(s *set) {}
