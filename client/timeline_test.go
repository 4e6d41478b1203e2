package client

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

const milli = time.Millisecond

func TestStepTime_WhatIsLeftWasSpentOnTheWays(t *testing.T) {
	hop := func(start, end int, waited, computed time.Duration) chain.HopTime {
		return chain.HopTime{Span: span(start, end), Spent: protocol.Spent{Waited: waited, Computed: computed}}
	}
	step := chain.Stepped{
		Tokens: 1, First: 100 * milli, Latest: 150 * milli, Done: 200 * milli,
		Hops: []chain.HopTime{hop(0, 2, 4*milli, 6*milli), hop(2, 4, 0, 10*milli)},
	}
	for _, x := range []struct {
		name          string
		ways          []time.Duration
		first, second time.Duration
	}{
		{"in proportion", []time.Duration{1 * milli, 2 * milli, 3 * milli}, 5 * milli, 25 * milli},
		{"all alike, where no way takes any time", make([]time.Duration, 3), 10 * milli, 20 * milli},
		{"all alike, where the ways are another chain's", []time.Duration{1, 2}, 10 * milli, 20 * milli},
		{"all alike, where nothing is known", nil, 10 * milli, 20 * milli},
	} {
		t.Run(x.name, func(t *testing.T) {
			want := StepTime{Tokens: 1, Took: 100 * milli, Stall: 50 * milli, Hops: []HopTime{
				{span(0, 2), 4 * milli, 6 * milli, x.first}, {span(2, 4), 0, 10 * milli, x.second},
			}}
			if got := stepTime(step, x.ways); !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestStepTime_JSON(t *testing.T) {
	steps := []StepTime{
		{Tokens: 12, At: 3 * milli, Took: 5500 * time.Microsecond, Hops: []HopTime{{span(0, 2), milli, 2 * milli, 2500*time.Microsecond + 400}}},
		{Token: 1, Tokens: 1, Took: milli, Stall: 1, Hops: nil},
	}
	var line Timeline
	line.Add(steps...)
	got, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"token":0,"tokens":12,"at_ms":3,"ms":5.5,"hops":[{"layers":"0:2","queue_ms":1,"compute_ms":2,"network_ms":2.5}]},` +
		`{"token":1,"tokens":1,"at_ms":0,"ms":1,"hops":[]}]`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if empty, err := json.Marshal(Timeline{}); err != nil || string(empty) != "[]" {
		t.Errorf("no steps are %s (%v)", empty, err)
	}
}

func TestTimeline_OfALongAnswerIsThinnedEvenly(t *testing.T) {
	var line Timeline
	for n := 1; n <= 5*maxTimeline; n++ {
		line.Add(StepTime{Token: n - 1})
		if len(line.steps) > maxTimeline || n >= maxTimeline/2 && len(line.steps) < maxTimeline/2 {
			t.Fatalf("of %d steps %d are kept", n, len(line.steps))
		}
		for i, s := range line.steps {
			if s.Token != i*line.every {
				t.Fatalf("of %d steps, where each %d-th is kept, number %d is that of token %d", n, line.every, i, s.Token)
			}
		}
	}
	if line.every != 8 {
		t.Errorf("of %d steps each %d-th is kept, want each 8th", 5*maxTimeline, line.every)
	}
}

func TestSumHops_AddsWhatComputesTheSameLayers(t *testing.T) {
	got := SumHops([]StepTime{
		{Hops: []HopTime{{span(0, 2), 1, 2, 3}, {span(2, 4), 4, 5, 6}}},
		{Hops: []HopTime{{span(0, 2), 10, 20, 30}, {span(2, 3), 1, 1, 1}, {span(3, 4), 2, 2, 2}}},
	})
	want := []HopTime{{span(0, 2), 11, 22, 33}, {span(2, 4), 4, 5, 6}, {span(2, 3), 1, 1, 1}, {span(3, 4), 2, 2, 2}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestGenerate_TellsEachStepOnce has an answer of which some tokens are no text: their steps come with the next chunk.
func TestGenerate_TellsEachStepOnce(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4))
	c, _ := w.session(t)
	o := Options{MaxTokens: 20, Sampling: sample.Params{Penalty: 1, Temperature: 1}, Seed: 4, IgnoreEOS: true}
	var steps []StepTime
	var out *Outcome
	for chunk, err := range c.Generate(t.Context(), prompt(600), o) {
		if err != nil {
			t.Fatal(err)
		}
		steps, out = append(steps, chunk.News.Steps...), chunk.Outcome
	}
	var tokens []int
	at := time.Duration(0)
	for i, s := range steps {
		if want := max(0, i-1); s.Token != want || s.At < at || s.Took <= 0 || s.At+s.Took > out.Timings.Total {
			t.Errorf("step %d is that of token %d, at %v for %v, after one at %v, of %v in all", i, s.Token, s.At, s.Took, at, out.Timings.Total)
		}
		at = s.At
		tokens = append(tokens, s.Tokens)
	}
	if want := append([]int{512, 88}, slices.Repeat([]int{1}, 19)...); !slices.Equal(tokens, want) {
		t.Errorf("the steps have %v tokens, want %v", tokens, want)
	}
}
