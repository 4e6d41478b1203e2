package planner

import (
	"math"
	"testing"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// TestPetalsRoute_AnswersLikeTheOriginal holds the rule that is made again to what the original answered.
func TestPetalsRoute_AnswersLikeTheOriginal(t *testing.T) {
	const need, plenty, short = 100, 1 << 20, 10
	client := map[string]float64{"A": 0.02, "B": 0.02, "C": 0.02, "D": 0.02}
	for _, c := range []struct {
		name  string
		short string
		want  string
		cost  float64
	}{
		{"all have room", "", "A,C", 0.431},
		{"C is short of cache", "C", "A,B", 0.561},
		{"B, C and D are", "BCD", "A,C", 10.431},
	} {
		t.Run(c.name, func(t *testing.T) {
			servers := []petalsHop{
				{id: "A", span: protocol.Span{Start: 0, End: 16}, rps: 64, pings: map[string]float64{"B": 0.01, "C": 0.2}},
				{id: "B", span: protocol.Span{Start: 16, End: 32}, rps: 64},
				{id: "C", span: protocol.Span{Start: 16, End: 32}, rps: 640},
				{id: "D", span: protocol.Span{Start: 0, End: 32}, rps: 32},
			}
			for i := range servers {
				servers[i].cache = plenty
				for _, s := range c.short {
					if servers[i].id == string(s) {
						servers[i].cache = short
					}
				}
			}
			route, cost := petalsRoute(32, servers, client, need)
			if petalsChain(route) != c.want || math.Abs(cost-c.cost) > 1e-9 {
				t.Errorf("%s at %.6f, want %s at %.3f", petalsChain(route), cost, c.want, c.cost)
			}
		})
	}
}

func TestPetalsRoute_TakesWhatItAssumesOfTheUnknown(t *testing.T) {
	servers := []petalsHop{{id: "A", span: protocol.Span{Start: 0, End: 3}, cache: 1000}}
	for _, c := range []struct {
		client map[string]float64
		want   float64
	}{
		{nil, 0.15 + 0.018 + 3.0/300 + 0.15},
		{map[string]float64{"A": 60}, 5 + 0.018 + 3.0/300 + 5},
	} {
		if _, cost := petalsRoute(3, servers, c.client, 1); math.Abs(cost-c.want) > 1e-9 {
			t.Errorf("a route costs %.3f, want %.3f", cost, c.want)
		}
	}
	if route, _ := petalsRoute(4, servers, nil, 1); route != nil {
		t.Errorf("a route through 4 blocks of which one is missing: %v", route)
	}
}
