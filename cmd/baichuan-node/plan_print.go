package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// text is the report for people.
func (r *planReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s\n\n", r.Model, r.ModelID[:16], counted(r.Layers, "layer"))
	t := newTextStatus(io.Discard, io.Discard, false)
	if len(r.Chain) > 0 {
		fmt.Fprintf(&b, "chain of %s, %.1f ms a token predicted (%.1f tokens/s)\n", counted(len(r.Chain), "hop"), r.Predicted, r.PerSecond)
		t.table(&b, hopTable(r.Chain))
		for _, h := range r.Chain {
			if h.Full {
				fmt.Fprintf(&b, "%s has less free cache than the session may reach, which would wait for room there\n", shortPeer(h.Peer))
			}
		}
	} else {
		fmt.Fprintf(&b, "no chain: no peer serves layers %s that may be asked\n", strings.Join(r.Missing, ", "))
	}
	if m := r.Measured; m != nil {
		fmt.Fprintln(&b, m)
	}
	if len(r.Unused) > 0 {
		b.WriteString("\nnot in it\n")
		t.table(&b, r.unusedTable())
	}
	if r.Host != nil {
		fmt.Fprintf(&b, "\n%s\n", r.Host)
	}
	return b.String()
}

func hopTable(hops []planHop) table {
	t := table{head: []string{"NICK", "PEER", " LAYERS", " COMPUTE MS", " NETWORK MS", " WAITING MS"}}
	for _, h := range hops {
		t.lines = append(t.lines, []string{
			cmp.Or(short(h.Nick, maxNickColumns), "-"), shortPeer(h.Peer), h.Layers,
			fmt.Sprintf("%.1f", h.Compute), fmt.Sprintf("%.1f", h.Network), fmt.Sprintf("%.1f", h.Waiting),
		})
		t.bad = append(t.bad, false)
	}
	return t
}

// unusedTable has the peers in its reasons shortened as elsewhere.
func (r *planReport) unusedTable() table {
	var names []string
	for _, h := range r.Chain {
		names = append(names, h.Peer, shortPeer(h.Peer))
	}
	shorter := strings.NewReplacer(names...)
	t := table{head: []string{"NICK", "PEER", " LAYERS", "WHY"}}
	for _, p := range r.Unused {
		t.lines = append(t.lines, []string{cmp.Or(short(p.Nick, maxNickColumns), "-"), shortPeer(p.Peer), p.Layers, shorter.Replace(p.Why)})
		t.bad = append(t.bad, false)
	}
	return t
}

// String is one sentence.
func (h *planHost) String() string {
	if h.Layers == "" {
		return "this machine would host nothing: " + h.Why
	}
	speed := ""
	if h.Speed > 0 {
		speed = fmt.Sprintf("; %.1f tokens/s through them", h.Speed)
	}
	return fmt.Sprintf("this machine would host layers %s (%d of %d, %s of weights, cache of %d tokens%s), because %s",
		h.Layers, h.Count, h.Of, humanBytes(h.Weights), h.Cache, speed, h.Why)
}

// String is one sentence.
func (m *planMeasured) String() string {
	text := m.Note
	if m.Tokens > 0 {
		text = fmt.Sprintf("measured: %.1f ms a token, the median of %d: the prediction is %.2f of it", m.Median, m.Tokens, m.Share)
		if m.Note != "" {
			text += " (" + m.Note + ")"
		}
	}
	return text
}
