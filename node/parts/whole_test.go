//go:build !race

// Go's race detector itself crashes on timers in a synctest bubble (golang/go#78156). Serving runs under it in
// serve_test.go, in real time.

package parts

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// The cap holds for the manifest and the tokenizer, too, and who needs them for the first time does not wait for a free uplink.
func TestServe_SendsTokenizersWithinTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const netRate, seconds = 20_000_000 / 8, 60
		next := simulated(t)
		_, m := home(t)
		h := next()
		server, err := Serve(h, m, NewUplink(netRate))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		server.tokenizer = make([]byte, 2<<20)
		// take takes the whole of it from a host, over and over for so long, and counts what comes in that time.
		take := func(from host.Host, long time.Duration) (got int, took time.Duration) {
			from.Peerstore().AddAddrs(h.ID(), h.Addrs(), time.Hour)
			st := routing.NewBlobStream(from, h.ID())
			defer st.Close()
			began := time.Now()
			for at := 0; at > 0 || got == 0 || time.Since(began) < long; at = (at + protocol.MaxDataBytes) % len(server.tokenizer) {
				data, err := st.Get(t.Context(), server.words, int64(at), protocol.MaxDataBytes)
				if err != nil || len(data.Bytes) != protocol.MaxDataBytes {
					t.Errorf("a piece has %d bytes: %v", len(data.Bytes), err)
					break
				}
				if long == 0 || time.Since(began) <= long {
					got += len(data.Bytes)
				}
			}
			return got, time.Since(began)
		}
		if _, took := take(next(), 0); took > 500*time.Millisecond {
			t.Errorf("with a free uplink it takes %v", took)
		}
		var all sync.WaitGroup
		var mu sync.Mutex // guards total
		total := 0
		greedy := next()
		for range 8 {
			all.Go(func() {
				got, _ := take(greedy, seconds*time.Second)
				mu.Lock()
				total += got
				mu.Unlock()
			})
		}
		time.Sleep(seconds / 2 * time.Second)
		if _, took := take(next(), 0); took > 5*time.Second {
			t.Errorf("beside a greedy one it takes %v", took)
		}
		all.Wait()
		most := int(bulkShare*netRate*seconds) + len(server.tokenizer) + 2*protocol.MaxDataBytes
		if total > most || total < most*3/4 {
			t.Errorf("a greedy one got %d bytes in %d s, of %d at most", total, seconds, most)
		}
		time.Sleep(2 * turnHeld)
	})
}
