package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/baichuan-node/baichuan-node/node/parts"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// TestMetrics_AreAsPrometheusWantsThem has Prometheus' own linter look at names and help texts.
func TestMetrics_AreAsPrometheusWantsThem(t *testing.T) {
	n, _ := serve(t, 0, 3, func(c *Config) {
		c.Process = Process{Version: "v1", Commit: "abc", Traffic: &routing.Traffic{}, Fetcher: parts.NewFetcher(parts.FetcherConfig{Model: c.Model})}
	})
	problems, err := promlint.New(strings.NewReader(own(scrape(t, n)))).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v (%v)", problems, err)
	}
	if all := scrape(t, n); !strings.Contains(all, `baichuan_node_build_info{commit="abc",device="cpu/`) || !strings.Contains(all, "baichuan_node_parts_fetched_total 0") {
		t.Errorf("the process is not told of:\n%s", own(all))
	}
}

// own is what is ours among the lines of a scrape.
func own(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, namespace) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestMetrics_TellWhatTheNodeDoes looks before and after a conversation over two nodes.
func TestMetrics_TellWhatTheNodeDoes(t *testing.T) {
	first, _ := serve(t, 0, 2, nil)
	second, _ := serve(t, 2, 3, nil)
	c := newChain(t, newHost(t), "s", first, second)
	if got := count(t, first, "sessions"); got != 0 {
		t.Fatalf("%d sessions before the first", got)
	}
	c.open(0, nil)
	c.step(1, 0, sequence(100)...)
	for i := range 3 {
		c.step(uint64(i+2), 100+i, 7)
	}
	c.counts("sessions", 1, 1)
	c.counts("tokens_total", 103, 103)
	c.counts("steps_total", 4, 4)
	c.counts("step_queue_seconds_count", 4, 4)
	c.counts("step_compute_seconds_count", 4, 4)
	c.counts("queued_steps", 0, 0)
	c.counts("layers_start", 0, 2)
	c.counts("layers_end", 2, 3)
	c.counts(`state{state="online"}`, 1, 1)
	c.counts(`state{state="draining"}`, 0, 0)
	for _, n := range c.nodes {
		used, limit := count(t, n, "cache_bytes"), count(t, n, "cache_limit_bytes")
		if used <= 0 || used >= limit {
			t.Errorf("%d of %d bytes of cache are used", used, limit)
		}
		if free := count(t, n, "cache_free_tokens"); free <= 0 || free >= 2048 {
			t.Errorf("%d tokens are free", free)
		}
	}
	if got := count(t, first, `connections{way="direct"}`); got != 2 { // the client's, and that to the other node
		t.Errorf("%d connections, want 2", got)
	}
	// A step that is not the next one is refused.
	c.first().send(step(c.epoch, 9, 50, protocol.WantNone, 7))
	f := answer[protocol.Failure](c.first())
	c.counts(fmt.Sprintf("steps_failed_total{code=%q}", f.Code), 1, 0)
}

// TestMetrics_HaveFewLabels keeps anything that strangers choose out of the labels: a scrape must not grow with the swarm.
func TestMetrics_HaveFewLabels(t *testing.T) {
	n, _ := serve(t, 0, 3, nil)
	before := series(t, n)
	for i := range 5 {
		c := newChain(t, newHost(t), fmt.Sprint("s", i), n)
		c.open(0, nil)
		c.step(1, 0, sequence(10)...)
	}
	if after := series(t, n); !slices.Equal(before, after) {
		t.Errorf("5 clients have made\n%v\nof\n%v", after, before)
	}
}

// series is the names and labels of all that the node counts itself.
func series(t *testing.T, n *Node) (all []string) {
	t.Helper()
	families, err := prometheus.Gatherers{n.metrics.registry, n.metrics.around}.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), namespace) {
			continue
		}
		for _, m := range f.GetMetric() {
			all = append(all, fmt.Sprint(f.GetName(), m.GetLabel()))
		}
	}
	return all
}
