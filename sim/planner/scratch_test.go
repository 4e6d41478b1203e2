package planner

import (
	"fmt"
	"github.com/baichuan-node/baichuan-node/routing/placement"
	"os"
	"strconv"
	"testing"
	"time"
)

func env(k string, d int) int {
	if n, e := strconv.Atoi(os.Getenv(k)); e == nil {
		return n
	}
	return d
}
func TestJoins(t *testing.T) {
	for _, sz := range Sizes() {
		if sz[1] < 10 || (env("SZ", 0) != 0 && sz[0]*100+sz[1] != env("SZ", 0)) {
			continue
		}
		for _, pet := range []bool{false, true} {
			if pet && env("PET", 0) == 0 {
				continue
			}
			var tr Trial
			moves := 0.0
			op := 0
			t0 := time.Now()
			n := env("N", 5)
			var ws []string
			for i := range n {
				d := NewDraw(sz[0], sz[1], uint64(i))
				w, f := Joins(d, pet)
				_, best := placement.Search(w.truth(false), 4, 300)
				tr.add(ratio(best, f))
				if os.Getenv("DBG") != "" {
					v := w.truth(false)
					for _, p := range v.Peers {
						fmt.Println(p.ID[:4], p.Target, p.Rate/int64(p.Layers), w.draw.place[p.ID])
					}
					fmt.Printf("%+v best %+v\n", placement.Measure(v), best)
					mv, g := placement.Plan(v)
					fmt.Println(mv, g)
					at, _ := placement.Search(w.truth(false), 4, 300)
					for k := range v.Peers {
						v.Peers[k].Target = at[k]
					}
					fmt.Printf("%+v %v\n", placement.Measure(v), at)
				}
				ws = append(ws, fmt.Sprintf("%.2f/%d", ratio(best, f), w.moves))
				tot := sz[1] * (sz[1] + 1) / 2
				moves += float64(w.moves) / float64(tot)
				op += w.opened
			}
			fmt.Printf("%v petals=%v mean %.3f worst %.3f moves/server,join %.3f opened %d %v\n", sz, pet, tr.Mean, tr.Worst, moves/float64(n), op, time.Since(t0)/time.Duration(n))
			fmt.Println(ws)
		}
	}
}
func TestChurn(t *testing.T) {
	for _, e := range []int{300, 60} {
		for _, pet := range []bool{false, true} {
			if pet && env("PET", 0) == 0 {
				continue
			}
			t0 := time.Now()
			n := env("N", 3)
			var a, b, m float64
			op := 0
			for i := range n {
				d := NewDraw(40, 16, uint64(i))
				ta, se, w, ev := Churn{Every: time.Duration(e) * time.Second, For: time.Duration(e*env("EV", 12)) * time.Second, Wrong: env("WRONG", 20), Petals: pet}.Run(d, uint64(i))
				a += ta
				b += se
				m += float64(w.moves) / float64(ev)
				op += w.opened
			}
			N := float64(n)
			fmt.Printf("every %d petals=%v target %.3f served %.3f moves/event %.2f opened %d %v\n", e, pet, a/N, b/N, m/N, op, time.Since(t0)/time.Duration(n))
		}
	}
}
