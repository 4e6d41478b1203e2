package node

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/routing"
)

func TestLoad_IsToldToWhoAsks(t *testing.T) {
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	ids := sequence(80)
	c.open(0, nil)
	c.step(1, 0, ids[:70]...)
	c.step(2, 70, ids[70:71]...)
	c.step(2, 70, ids[70:71]...) // comes again

	h := newHost(t)
	d, err := routing.NewDirectory(t.Context(), h, routing.DirectoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var all []peer.ID
	for _, n := range c.nodes {
		if err := d.Join(t.Context(), []peer.AddrInfo{{ID: n.host.ID(), Addrs: n.host.Addrs()}}); err != nil {
			t.Fatal(err)
		}
		all = append(all, n.host.ID())
	}
	for i, told := range d.AskPeers(t.Context(), all) {
		l := told.Load
		if told.Err != nil || l == nil || told.Offer == nil || told.RTT <= 0 || told.Relayed {
			t.Fatalf("hop %d answers %+v", i, told)
		}
		if l.Tokens != 71 || l.Replayed != 0 || l.Steps != 2 || l.LedgerAnswers != 1 || l.Sessions != 1 || l.Queue != 0 ||
			l.PassRows != 71 || l.Passes < 2 || l.Passes > 4 || l.ClientPushes != 0 || l.CacheUsed == 0 || l.CacheUsed > 2048 || l.CacheFree == 0 || l.CacheFree > 2048 {
			t.Errorf("hop %d tells %+v", i, l)
		}
		if pushes := []uint64{3, 3, 0}[i]; l.DirectPushes != pushes {
			t.Errorf("hop %d has pushed %d frames, want %d", i, l.DirectPushes, pushes)
		}
	}
}
