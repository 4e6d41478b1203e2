package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// counters asks the node.
func (n *process) counters(ctx context.Context) (c Counters, err error) {
	all, err := n.metrics(ctx)
	if err != nil {
		return c, err
	}
	if err := all.read(c.names()); err != nil {
		return c, fmt.Errorf("node %d: %w", n.PID(), err)
	}
	n.mu.Lock()
	n.count = c
	n.mu.Unlock()
	return c, nil
}

// names says by which names nodes tell the counters.
func (c *Counters) names() map[string]*int {
	return map[string]*int{
		"baichuan_node_tokens_total": &c.Computed, "baichuan_node_replayed_tokens_total": &c.Replayed,
		"baichuan_node_prefix_hit_tokens_total": &c.PrefixHits, "baichuan_node_pages_handed_total": &c.Pages,
		"baichuan_node_ledger_answers_total": &c.Repeated, "baichuan_node_push_repairs_total": &c.Repairs,
	}
}

// metrics are a node's, by their names.
type metrics map[string]float64

// metrics asks the node for all.
func (n *process) metrics(ctx context.Context) (metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, countLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.ready.Metrics, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read the metrics of node %d: %w", n.PID(), err)
	}
	defer response.Body.Close()
	all, err := parseMetrics(io.LimitReader(response.Body, maxMetrics))
	if err != nil {
		return nil, fmt.Errorf("read the metrics of node %d: %w", n.PID(), err)
	}
	return all, nil
}

// parseMetrics reads Prometheus' text form, as far as it is numbers without labels.
func parseMetrics(r io.Reader) (metrics, error) {
	all := make(metrics)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(name, "#") || strings.Contains(name, "{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		all[name] = v
	}
	return all, lines.Err()
}

// read gives the values of some.
func (m metrics) read(into map[string]*int) error {
	var errs []error
	for name, to := range into {
		v, ok := m[name]
		if !ok {
			errs = append(errs, fmt.Errorf("metric %s is not there", name))
		}
		*to = int(v)
	}
	return errors.Join(errs...)
}
