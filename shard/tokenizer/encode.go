package tokenizer

// Encode gives the ids of a text. The spelling of a special token is plain text: no text gives the ids that mark
// who speaks.
func (t *Tokenizer) Encode(text string) []uint32 { return t.encode(text, t.special) }

// EncodeSpecial gives the ids of a text in which the spelling of a special token is that token, as SentencePiece
// encodes. It is not for what a user wrote.
func (t *Tokenizer) EncodeSpecial(text string) []uint32 { return t.encode(text, nil) }

func (t *Tokenizer) encode(text string, deny denied) []uint32 {
	norm := t.norm.normalize(text, func(s string) int { return t.users.longest(s, deny) })
	if norm == "" {
		return []uint32{}
	}
	m := merger{t: t, text: norm, deny: deny}
	m.cut()
	m.merge()
	return m.ids()
}

// merger is one text on its way to ids.
type merger struct {
	t       *Tokenizer
	text    string // normalized
	deny    denied
	symbols []symbol
	queue   pairs
	// splitAt says, for an unused piece, how long the left part was that it was last made of.
	splitAt map[uint32]int
}

// symbol is a stretch of the text, linked to its neighbours by index (-1: none). One that was merged into its left
// neighbour has size 0.
type symbol struct {
	start, size int
	prev, next  int
	frozen      bool // a user-defined piece: never merged
}

// cut splits the text into user-defined pieces and characters.
func (m *merger) cut() {
	m.symbols = make([]symbol, 0, len(m.text)/2+1)
	for at := 0; at < len(m.text); {
		size := m.t.users.longest(m.text[at:], m.deny)
		frozen := size > 0
		if !frozen {
			size = min(charSize(m.text[at]), len(m.text)-at)
		}
		n := len(m.symbols)
		m.symbols = append(m.symbols, symbol{start: at, size: size, prev: n - 1, next: n + 1, frozen: frozen})
		at += size
	}
	m.symbols[len(m.symbols)-1].next = -1
}

// charSize is the length of a character by its first byte. Normalized text is valid UTF-8 unless a charsmap made it
// otherwise; then a stray continuation byte counts as a character, as in SentencePiece.
func charSize(first byte) int {
	switch {
	case first >= 0xf0:
		return 4
	case first >= 0xe0:
		return 3
	case first >= 0xc0:
		return 2
	}
	return 1
}

// merge joins neighbours, the pair with the best score first and the leftmost of equals, until no pair is a piece.
func (m *merger) merge() {
	for i := 1; i < len(m.symbols); i++ {
		m.offer(i-1, i)
	}
	for len(m.queue) > 0 {
		p := m.queue.pop()
		left, right := &m.symbols[p.left], &m.symbols[p.right]
		// Either side may have changed since the pair was queued; a change always changes the sum of their sizes.
		if left.size == 0 || right.size == 0 || left.size+right.size != p.size {
			continue
		}
		left.size = p.size
		left.next = right.next
		if right.next >= 0 {
			m.symbols[right.next].prev = p.left
		}
		right.size = 0
		m.offer(left.prev, p.left)
		m.offer(p.left, left.next)
	}
}

// offer queues two neighbours if together they are a piece.
func (m *merger) offer(left, right int) {
	if left < 0 || right < 0 {
		return
	}
	l, r := &m.symbols[left], &m.symbols[right]
	size := l.size + r.size
	if l.frozen || r.frozen || size > m.t.longest {
		return
	}
	id, ok := m.t.ids[m.text[l.start:l.start+size]]
	if !ok || m.deny.has(id) {
		return
	}
	m.queue.push(pair{score: m.t.pieces[id].score, left: left, right: right, size: size})
	if m.t.pieces[id].kind == kindUnused {
		if m.splitAt == nil {
			m.splitAt = map[uint32]int{}
		}
		m.splitAt[id] = l.size
	}
}

// ids gives the ids of the symbols that are left.
func (m *merger) ids() []uint32 {
	out := make([]uint32, 0, len(m.symbols)/2+1)
	afterUnknown := false
	for i := 0; i >= 0; i = m.symbols[i].next {
		s := m.symbols[i]
		out, afterUnknown = m.appendIDs(out, m.text[s.start:s.start+s.size], afterUnknown)
	}
	return out
}

// appendIDs appends the ids of a symbol: its piece's; those of the parts of an unused piece; its bytes'; or, without
// byte fallback, one unknown for each run of symbols without a piece.
func (m *merger) appendIDs(out []uint32, s string, afterUnknown bool) ([]uint32, bool) {
	id, ok := m.t.ids[s]
	if ok && !m.deny.has(id) {
		if left, split := m.splitAt[id]; split {
			out, afterUnknown = m.appendIDs(out, s[:left], afterUnknown)
			return m.appendIDs(out, s[left:], afterUnknown)
		}
		return append(out, id), false
	}
	if m.t.byteIDs == nil {
		if afterUnknown {
			return out, true
		}
		return append(out, m.t.unk), true
	}
	for i := 0; i < len(s); i++ {
		out = append(out, m.t.byteIDs[s[i]])
	}
	return out, true
}

// pair is a merge that may be done.
type pair struct {
	score       float32
	left, right int // symbols
	size        int // bytes of both when the pair was queued
}

// before says whether p is merged before q.
func (p pair) before(q pair) bool {
	return p.score > q.score || p.score == q.score && p.left < q.left
}

// pairs is a heap with the pair to merge next at the top.
type pairs []pair

func (h *pairs) push(p pair) {
	q := append(*h, p)
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !p.before(q[up]) {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = p
	*h = q
}

func (h *pairs) pop() pair {
	q := *h
	top, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	*h = q
	i := 0
	for {
		down := 2*i + 1
		if down >= len(q) {
			break
		}
		if down+1 < len(q) && q[down+1].before(q[down]) {
			down++
		}
		if !q[down].before(last) {
			break
		}
		q[i] = q[down]
		i = down
	}
	if len(q) > 0 {
		q[i] = last
	}
	return top
}
