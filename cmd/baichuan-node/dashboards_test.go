package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// dashboard is what Grafana reads, as far as it is tested.
type dashboard struct {
	UID           string
	SchemaVersion int
	Templating    struct{ List []struct{ Name, Type string } }
	Panels        []struct {
		ID         int
		Title      string
		Datasource struct{ UID string }
		Targets    []struct {
			Expr       string
			Datasource struct{ UID string }
		}
	}
}

// dashboards holds docs/grafana against what processes that have worked tell at some addresses: each query asks for a metric
// that is there, by labels that it has, and none of ours is forgotten.
func dashboards(t *testing.T, pages map[string]string) {
	for name, url := range pages {
		raw, err := os.ReadFile("../../docs/grafana/baichuan-" + name + "s.json")
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		if d.UID != "baichuan-"+name+"s" || d.SchemaVersion < 36 || len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: uid %q, schema %d, variables %v", name, d.UID, d.SchemaVersion, d.Templating.List)
		}
		known := scrape(t, url)
		asked := d.check(t, known)
		for metric := range known {
			if strings.HasPrefix(metric, "baichuan_") && !asked[metric] {
				t.Errorf("%s: no panel shows %s", name, metric)
			}
		}
	}
}

// scrape gives the metrics of a page, without the suffixes of histograms, and the labels of each.
func scrape(t *testing.T, url string) map[string]string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]string)
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "#") {
			name, labels, _ := strings.Cut(line[:strings.LastIndex(line, " ")], "{")
			known[withoutSuffix(name)] += labels
		}
	}
	return known
}

func withoutSuffix(metric string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		metric = strings.TrimSuffix(metric, suffix)
	}
	return metric
}

var (
	metricIn = regexp.MustCompile(`([a-z_]+)\{`)
	labelsIn = regexp.MustCompile(`by \(([a-z, ]+)\)`)
)

// check looks at each query, and gives the metrics that they ask for.
func (d *dashboard) check(t *testing.T, known map[string]string) map[string]bool {
	asked, ids := make(map[string]bool), make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: another panel has the id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" || p.Datasource.UID != "${datasource}" || strings.Count(q.Expr, "(") != strings.Count(q.Expr, ")") {
				t.Errorf("%s: %+v", p.Title, q)
			}
			for _, m := range metricIn.FindAllStringSubmatch(q.Expr, -1) {
				labels, is := known[withoutSuffix(m[1])]
				if !is {
					t.Errorf("%s: there is no metric %s", p.Title, m[1])
				}
				asked[withoutSuffix(m[1])] = true
				for _, by := range labelsIn.FindAllStringSubmatch(q.Expr, -1) {
					for label := range strings.SplitSeq(by[1], ", ") {
						if label != "instance" && !strings.Contains(labels, label+"=") {
							t.Errorf("%s: %s has no label %s, only %.100s", p.Title, m[1], label, labels)
						}
					}
				}
			}
		}
	}
	return asked
}
