package planner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// Summary is what a fleet came to on average.
type Summary struct {
	Nodes     int     `json:"nodes"`
	Hours     float64 `json:"hours"`
	Joined    int     `json:"joined"`
	Left      int     `json:"left"`
	Covered   float64 `json:"covered"`    // of the time all layers are served
	Longest   float64 `json:"longest_s"`  // time in which some layer was not
	Tokens    float64 `json:"tokens_s"`   // per second through the weakest layer
	Part      float64 `json:"part"`       // of what no placement exceeds
	TokenMS   float64 `json:"token_ms"`   // of a lone client
	Hops      float64 `json:"hops"`       // of its chain
	Moves     float64 `json:"moves_hour"` // of all nodes
	NodeMoves float64 `json:"moves_node_hour"`
	Opened    int     `json:"gaps_opened"`
}

// Summary adds a fleet's samples up.
func (f *Fleet) Summary() Summary {
	s := Summary{Nodes: f.Nodes, Hours: f.For.Hours(), Joined: f.Joined, Left: f.Left, Opened: f.Opened}
	covered, bare := 0.0, time.Duration(0)
	for _, at := range f.Samples {
		if at.Gaps > 0 {
			bare += sampleFleet
			s.Longest = max(s.Longest, bare.Seconds())
			continue
		}
		bare = 0
		covered++
		s.Tokens += at.Tokens
		s.Part += at.Tokens / at.Ceiling
		s.TokenMS += at.TokenMS
		s.Hops += at.Hops
	}
	for _, sum := range []*float64{&s.Tokens, &s.Part, &s.TokenMS, &s.Hops} {
		*sum /= max(1, covered)
	}
	s.Covered = covered / float64(max(1, len(f.Samples)))
	s.Moves = float64(f.Moves) / max(s.Hours, 1e-9)
	s.NodeMoves = s.Moves / float64(max(1, f.Nodes))
	return s
}

// FleetTable shows what fleets came to.
func FleetTable(fleets []Fleet) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "nodes\thours\tjoined\tleft\tall layers served\tlongest gap\ttokens/s\tof the ceiling\tms a token\thops\tmoves/h\tmoves/h a node\tgaps opened\t")
	for _, f := range fleets {
		s := f.Summary()
		fmt.Fprintf(w, "%d\t%.1f\t%d\t%d\t%.2f %%\t%.0f s\t%.0f\t%.2f\t%.0f\t%.1f\t%.1f\t%.3f\t%d\t\n", s.Nodes, s.Hours, s.Joined, s.Left,
			100*s.Covered, s.Longest, s.Tokens, s.Part, s.TokenMS, s.Hops, s.Moves, s.NodeMoves, s.Opened)
	}
	_ = w.Flush() // to a string
	return out.String()
}

// WriteFleets writes a report of fleets, with its plots, to a folder. The command is how the report was made.
func WriteFleets(dir, command string, fleets []Fleet) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	files := map[string]string{"report.md": fmt.Sprintf(fleetReport, command, FleetTable(fleets))}
	for name, p := range fleetPlots(fleets) {
		files[name] = p.svg()
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// fleetPlots are the report's, by file.
func fleetPlots(fleets []Fleet) map[string]*plot {
	cover := &plot{title: "Part of the time in which all layers are served", x: "nodes", y: "part", log: true}
	moves := &plot{title: "Moves", x: "nodes", y: "moves per hour and node", log: true}
	part := &plot{title: "Weakest layer, of what no placement exceeds", x: "minutes", y: "part"}
	token := &plot{title: "Time of a token by the chain that routing plans", x: "minutes", y: "ms"}
	rate := &plot{title: "Tokens/s through the weakest layer", x: "minutes", y: "tokens/s, by node"}
	cover.lines, moves.lines = make([]line, 1), make([]line, 1)
	least := fleets[0].For
	for _, f := range fleets {
		least = min(least, f.For)
	}
	for _, f := range fleets {
		s := f.Summary()
		cover.lines[0].points = append(cover.lines[0].points, [2]float64{float64(f.Nodes), s.Covered})
		moves.lines[0].points = append(moves.lines[0].points, [2]float64{float64(f.Nodes), s.NodeMoves})
		name := fmt.Sprintf("%d nodes", f.Nodes)
		a, b, c := line{name: name}, line{name: name}, line{name: name}
		for _, at := range f.Samples {
			if x := at.At.Minutes(); at.At <= least {
				a.points = append(a.points, [2]float64{x, at.Tokens / max(at.Ceiling, 1e-9)})
				c.points = append(c.points, [2]float64{x, at.Tokens / float64(f.Nodes)})
				if at.Gaps == 0 {
					b.points = append(b.points, [2]float64{x, at.TokenMS})
				}
			}
		}
		part.lines, token.lines, rate.lines = append(part.lines, a), append(token.lines, b), append(rate.lines, c)
	}
	return map[string]*plot{"coverage.svg": cover, "moves.svg": moves, "weakest.svg": part, "token.svg": token, "tokens.svg": rate}
}

const fleetReport = `# Placement and routing alone, from 10 to 10,000 nodes

Made by

    %s

which plays swarms in made-up time: the code that decides where nodes serve (routing/placement) and which chain a client
takes (routing.Plan), without sockets or models. The same command gives the same figures again.

~~~
%s~~~

- *all layers served*: the part of the samples, one a minute, in which every layer had a holder.
- *tokens/s*: through the weakest layer; *of the ceiling*: beside the sum of all nodes' speeds over the layers, which no
  placement exceeds.
- *ms a token*: for a lone client anywhere, through the chain that routing.Plan found in the offers it had read, as long
  as it really takes.
- *moves*: by nodes that served already; *gaps opened*: by a move, that is by a node that left a layer to nobody.

![](coverage.svg)
![](weakest.svg)
![](tokens.svg)
![](token.svg)
![](moves.svg)

## What is assumed

- A model of 40 layers. Nodes hold 4 to 20 of them and pass 5 to 80 tokens/s through those.
- Eight regions, with the round trips that clouds publish between theirs (10 ms within one, 65 to 390 ms between two), most
  nodes in North America, Europe and East Asia; 1 to 15 ms from a node to its region, and what its uplink of 10 to 100 Mbit/s
  takes to send a row of 10 KiB.
- Nodes stay 4 hours on average, exponentially distributed, and go without a word; as many come as go. So at 10,000 nodes
  one comes and one goes every 1.4 s.
- Views are 10 s old; a node that is gone is believed to be there for 30 s. A node of a large swarm reads 512 offers, others
  each time. Loading takes 10 s and 3 s for each layer.
- The swarm begins where Place puts everybody.
- Nodes that have nothing under way look in turn, so many in 5 s that the simulation ends: all of 10 and 20 of 100, as it
  should be every 5 s and 25 s, but 2 of 1,000 and of 10,000. So what looks mend is mended later here than in a real swarm,
  where each node looks every 5 s: the figures for large swarms are those of joining well, and the moves are too few.

How many messages directories send for each node is measured in virtual swarms, not here: docs/directory-messages.md.
`
