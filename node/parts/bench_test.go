package parts

import "testing"

// BenchmarkFetch is a whole model over loopback, from a server in the same process: hashing, encrypting and writing take the
// processor's time at both ends.
func BenchmarkFetch(b *testing.B) {
	_, full := home(b, 0, 1, 2, 3, 4)
	h := newHost(b)
	server, err := Serve(h, full, NewUplink(0))
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	b.SetBytes(allBytes())
	for b.Loop() {
		b.StopTimer()
		s, m := home(b)
		f := fetcher(b, s, m, nil, h)
		b.StartTimer()
		if err := f.Fetch(b.Context(), whole(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
