package parts

import (
	"testing"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// FuzzDescribed holds what becomes of a stranger's offer: names that are file names, advice that a model may have.
func FuzzDescribed(f *testing.F) {
	f.Add("baichuan2-7b", float32(0.3), int32(5), 0.85, float32(1.05), uint32(2048))
	f.Add("../../etc/passwd", float32(-1), int32(-9), 7.0, float32(0), uint32(1<<31))
	f.Add("con", float32(0), int32(0), 0.0, float32(1), uint32(0))
	f.Fuzz(func(t *testing.T, name string, temperature float32, topK int32, topP float64, penalty float32, tokens uint32) {
		o := protocol.Offer{ModelName: name, Advice: &protocol.Advice{
			Sampling: protocol.Sampling{Temperature: temperature, TopK: topK, TopP: topP, Penalty: penalty}, MaxTokens: tokens,
		}}
		names := namesFor(o)
		if len(names) < 2 {
			t.Fatalf("the names are %q", names)
		}
		for _, n := range names {
			if err := store.CheckName(n); err != nil {
				t.Error(err)
			}
		}
		if err := generation(o.Advice).Check(); err != nil {
			t.Error(err)
		}
	})
}

func TestGeneration_SaysWhatTheOfferAdvises(t *testing.T) {
	d := generation(&protocol.Advice{
		Sampling: protocol.Sampling{Temperature: 0.3, TopK: 5, TopP: 0.85, Penalty: 1.05}, MaxTokens: 2048,
	}).Drawing()
	if want := (store.Drawing{Temperature: 0.3, TopK: 5, TopP: 0.85, Penalty: 1.05, MaxTokens: 2048}); d != want {
		t.Errorf("got %+v, want %+v", d, want)
	}
	if d := generation(&protocol.Advice{Sampling: protocol.Sampling{TopP: 1, Penalty: 1}}).Drawing(); d.Temperature != 0 {
		t.Errorf("a greedy model draws at %v", d.Temperature)
	}
	if g := generation(nil); g != (store.Generation{}) {
		t.Errorf("of no advice comes %+v", g)
	}
}

func TestPartNames_AreThoseOfLayers(t *testing.T) {
	m := &store.Manifest{Layers: 6}
	for want, parts := range map[string][]int{
		"embed, layers 0:3, head": {0, 1, 2, 3, 7}, "layers 2:3, layers 4:6": {3, 5, 6}, "head": {7}, "layers 5:6, head": {6, 7},
	} {
		if got := partNames(m, parts); got != want {
			t.Errorf("parts %v are %q, want %q", parts, got, want)
		}
	}
}
