package main

import (
	"os"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

func TestSpeeds_AreKeptForWhatTheyDependOn(t *testing.T) {
	newHome(t)
	model, err := bundled.Open(bundled.Chat)
	if err != nil {
		t.Fatal(err)
	}
	one, two := kernels.NewCPU(1), kernels.NewCPU(2)
	defer one.Close()
	defer two.Close()
	open := func() *speeds {
		t.Helper()
		s, err := openSpeeds()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s, span := open(), store.Span{Start: 0, End: 2}
	key, want := s.key(model, span, one), node.Speed{Decode: 12.5, Prefill: 100}
	if err := s.keep(key, want); err != nil {
		t.Fatal(err)
	}
	s = open()
	if got := s.all()[s.key(model, span, one)]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for name, other := range map[string]string{
		"threads": s.key(model, span, two), "layers": s.key(model, store.Span{Start: 0, End: 3}, one),
	} {
		if got := s.all()[other]; got != (node.Speed{}) {
			t.Errorf("with other %s: %+v", name, got)
		}
	}
	newer := &speeds{file: s.file, binary: "newer"}
	if got := newer.all(); len(got) != 0 {
		t.Errorf("another program believes %v", got)
	}
	if err := newer.keep(newer.key(model, span, one), want); err != nil || len(newer.all()) != 1 || len(s.all()) != 0 {
		t.Errorf("the newer program keeps %v beside %v, %v", newer.all(), s.all(), err)
	}
	for _, text := range []string{"", "{", `{"` + s.binary + `|x":{"decode":-1,"prefill":1}}`} {
		if err := os.WriteFile(s.file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := s.all(); len(got) != 0 {
			t.Errorf("%q gives %v", text, got)
		}
	}
}

// TestSpeeds_GuessWhatNoLayerHasToldYet: layers are chosen before any is loaded, on an empty machine too.
func TestSpeeds_GuessWhatNoLayerHasToldYet(t *testing.T) {
	newHome(t)
	model, err := bundled.Open(bundled.Chat)
	if err != nil {
		t.Fatal(err)
	}
	one, two := kernels.NewCPU(1), kernels.NewCPU(2)
	defer one.Close()
	defer two.Close()
	s, err := openSpeeds()
	if err != nil {
		t.Fatal(err)
	}
	if got := s.expected(model, one); got != (node.Speed{}) {
		t.Errorf("before anything was measured it expects %+v", got)
	}
	if err := s.guess(t.Context(), model, one); err != nil {
		t.Fatal(err)
	}
	if got := s.expected(model, one); got.Decode <= 0 || got.Prefill <= 0 {
		t.Errorf("it expects %+v of what it has measured", got)
	}
	if got := s.expected(model, two); got != (node.Speed{}) {
		t.Errorf("with other threads it expects %+v", got)
	}
	slower := node.Speed{Decode: 1e-3, Prefill: 1}
	if err := s.keep(s.key(model, store.Span{Start: 2, End: 5}, one), slower); err != nil {
		t.Fatal(err)
	}
	if err := s.guess(t.Context(), model, one); err != nil {
		t.Fatal(err)
	}
	if got := s.expected(model, one); got != slower {
		t.Errorf("it expects %+v, the slowest that was measured is %+v", got, slower)
	}
}
