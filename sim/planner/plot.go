package planner

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// line is some points of a plot, by x, joined.
type line struct {
	name   string
	points [][2]float64
}

// plot is a chart of lines, as an SVG: nothing but text, the same everywhere.
type plot struct {
	title, x, y string
	log         bool // x by its logarithm
	lines       []line
}

// How large a plot is, in pixels.
const (
	plotWidth, plotHeight    = 720, 400
	plotLeft, plotRight      = 70, 20
	plotTop, plotBottom      = 40, 50
	plotTicks, plotCharacter = 5, 7
)

// colours are told apart by those who are colour-blind, too (Okabe and Ito).
func colours() []string { return []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"} }

// svg draws the plot. The y axis begins at 0.
func (p *plot) svg() string {
	var out strings.Builder
	minX, maxX, maxY := p.ranges()
	toX := func(x float64) float64 {
		return plotLeft + (p.scale(x)-minX)/max(maxX-minX, 1e-9)*(plotWidth-plotLeft-plotRight)
	}
	toY := func(y float64) float64 { return plotHeight - plotBottom - y/maxY*(plotHeight-plotTop-plotBottom) }
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="15">%s</text>`+"\n", plotLeft, p.title)
	for i := range plotTicks + 1 {
		y := maxY * float64(i) / plotTicks
		fmt.Fprintf(&out, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.3g</text>`+"\n",
			plotLeft, toY(y), plotWidth-plotRight, plotLeft-6, toY(y)+4, y)
	}
	for _, x := range p.marks() {
		fmt.Fprintf(&out, `<text x="%.1f" y="%d" text-anchor="middle">%.5g</text>`+"\n", toX(x), plotHeight-plotBottom+18, x)
	}
	fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", plotWidth/2, plotHeight-10, p.x)
	fmt.Fprintf(&out, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", plotHeight/2, p.y)
	name := plotLeft + 10
	for i, l := range p.lines {
		colour := colours()[i%len(colours())]
		fmt.Fprintf(&out, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", colour, l.path(toX, toY))
		fmt.Fprintf(&out, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", name, plotTop-4, colour, l.name)
		name += plotCharacter*len(l.name) + 20
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// path lists the points of a line.
func (l *line) path(toX, toY func(float64) float64) string {
	points := make([]string, len(l.points))
	for i, p := range l.points {
		points[i] = fmt.Sprintf("%.1f,%.1f", toX(p[0]), toY(p[1]))
	}
	return strings.Join(points, " ")
}

func (p *plot) scale(x float64) float64 {
	if p.log {
		return math.Log10(max(x, 1e-9))
	}
	return x
}

// ranges are those of x, scaled, and the end of y, a round number.
func (p *plot) ranges() (minX, maxX, maxY float64) {
	minX, maxX = math.Inf(1), math.Inf(-1)
	for _, l := range p.lines {
		for _, q := range l.points {
			minX, maxX, maxY = min(minX, p.scale(q[0])), max(maxX, p.scale(q[0])), max(maxY, q[1])
		}
	}
	if maxY <= 0 {
		return minX, maxX, 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(maxY))) / 2
	return minX, maxX, math.Ceil(maxY/unit) * unit
}

// marks are the x that are named: all of the first line by its logarithm, else some round ones.
func (p *plot) marks() (xs []float64) {
	minX, maxX, _ := p.ranges()
	if p.log {
		for _, l := range p.lines {
			for _, q := range l.points {
				xs = append(xs, q[0])
			}
		}
		slices.SortFunc(xs, cmp.Compare[float64])
		return slices.Compact(xs)
	}
	for i := range plotTicks + 1 {
		xs = append(xs, minX+(maxX-minX)*float64(i)/plotTicks)
	}
	return xs
}
