package tokenizer

// trie finds the longest user-defined piece that a text begins with.
type trie struct {
	root  [256]int32 // node after the first byte, 0: none
	edges map[edge]int32
	ids   []int32 // by node: id of the piece that ends there, -1: none
}

type edge struct {
	node int32
	b    byte
}

// newTrie makes the tree of all user-defined pieces, nil if there are none.
func newTrie(pieces []piece) *trie {
	t := &trie{edges: map[edge]int32{}, ids: []int32{-1}}
	for id, p := range pieces {
		if p.kind != kindUser {
			continue
		}
		node := t.step(&t.root[p.text[0]])
		for i := 1; i < len(p.text); i++ {
			e := edge{node, p.text[i]}
			next := t.edges[e]
			node = t.step(&next)
			t.edges[e] = node
		}
		t.ids[node] = int32(id)
	}
	if len(t.ids) == 1 {
		return nil
	}
	return t
}

// step follows *next, to a new node if there was none.
func (t *trie) step(next *int32) int32 {
	if *next == 0 {
		*next = int32(len(t.ids))
		t.ids = append(t.ids, -1)
	}
	return *next
}

// longest gives the length of the longest piece, other than the denied ones, that s begins with, 0 if none does.
func (t *trie) longest(s string, deny denied) int {
	if t == nil || s == "" {
		return 0
	}
	best := 0
	node := t.root[s[0]]
	for i := 1; node != 0; i++ {
		if id := t.ids[node]; id >= 0 && !deny.has(uint32(id)) {
			best = i
		}
		if i == len(s) {
			break
		}
		node = t.edges[edge{node, s[i]}]
	}
	return best
}

// denied marks the pieces that an encoding must not use, by id. A nil one marks none.
type denied []bool

func (d denied) has(id uint32) bool { return int(id) < len(d) && d[id] }
