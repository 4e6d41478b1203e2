package routing

import (
	"slices"
	"testing"
)

func TestMissing_GivesRunsOfLayersWithoutAHost(t *testing.T) {
	for _, c := range []struct {
		hosts []int
		want  []string
	}{
		{nil, nil},
		{[]int{1, 2, 1}, nil},
		{[]int{0, 0, 1, 0}, []string{"0:2", "3:4"}},
		{[]int{1, 0, 0}, []string{"1:3"}},
		{[]int{0}, []string{"0:1"}},
	} {
		if got := Missing(c.hosts); !slices.Equal(got, c.want) || got == nil {
			t.Errorf("%v: %q, want %q", c.hosts, got, c.want)
		}
	}
}
