package kernels

import "fmt"

// set is the inner loops of an instruction set. The functions of the generic set, in plain Go, are the definitions; those
// of every other set give the same bits for the same arguments, whatever is next to them in memory (a NaN stays some
// NaN). They are called by several workers at once, read and write no memory but what they are given, and get slices of
// just the lengths that are said here. Nothing is aligned, buffers of float32 apart from 4 bytes.
type set struct {
	family  string // what BAICHUAN_KERNELS names: generic, avx2, avx512, neon
	variant string // what of the family: "" or an extension such as vnni
	tile    int    // the most rows of activations that mul takes at once, and the layout of activations
	queries int    // the most queries that scores and values take at once

	// quantise writes x (K) as row i of a (rule 6). False: a block is not finite; it counts as zeros.
	quantise func(a *activations, i int, x []float32) bool
	// mul writes to dst (p.n, g.rows, 16) the products of panels with a group (rule 2).
	mul func(dst []float32, p panels, g group)
	// mulWide writes to dst (n, 16) the products of up to 16 rows of 16-bit weights, w (rows, k) as stored, with n rows of
	// x (n, k), by lanes. What of dst has no row is left alone. 1 <= n <= tile; k is any number.
	mulWide func(dst []float32, f Format, w []byte, rows int, x []float32, n int)

	// rmsNorm (rule 4), roundRow and widenRow (rule 5), swiGLU (rules 3 and 5), rotate (rule 7) and maxAbs are rows' loops:
	// see the functions of these names. add adds src to dst, divide divides dst by a number; rows have any length.
	rmsNorm  func(dst, x, gain []float32, eps float32) bool
	roundRow func(half []byte, x []float32) (exp uint8, ok bool)
	widenRow func(dst []float32, half []byte, exp uint8)
	swiGLU   func(dst, gate, up []float32)
	rotate   func(x, cos, sin []float32)
	maxAbs   func(x []float32) uint32
	add      func(dst, src []float32)
	divide   func(dst []float32, by float32)

	// storeUnits writes x, whole units of 32, as codes (len(x)) and float16 scales (len(x)/16 bytes), as storeUnit has it.
	// False: one is not finite, or its scale is infinite as float16; what is stored is then anything.
	storeUnits func(codes, scales []byte, x []float32) bool
	// quantiseQuery writes x (q.size) as query i of q, in units of 32. False: not finite.
	quantiseQuery func(q *queries, i int, x []float32) bool
	// scores writes to dst[i*stride+t] what query i < q.n and the key of token t < tokens give: the units' terms in order,
	// times q.root. keys and scales begin at the head's first code of token 0; the next token's are width and width/16
	// bytes further on. ahead is how far from the keys lies what will be read next: a hint.
	scores func(dst []float32, stride int, q *queries, keys, scales []byte, width, tokens, ahead int)
	// values adds to total (n, size) for each query i the values of tokens 0..tokens-1 in order, each times its weight
	// p[i*stride+t]; values and scales lie as in scores. A term whose weight is 0 may be left out.
	values func(total []float32, n int, p []float32, stride int, codes, scales []byte, width, tokens, ahead int)
	// scoresHalf and valuesHalf do so for one query and a float16 cache, whose tokens are width elements apart. x has the
	// size of a head, and so has total.
	scoresHalf func(dst []float32, x []float32, root float32, keys []byte, width, tokens int)
	valuesHalf func(total, p []float32, codes []byte, width, tokens int)
	// prefetch asks for memory that will be read soon.
	prefetch func(b []byte)
	// bias adds slope * float32(first+j) to each s[j] (ALiBi, rule 4). largest is the largest of s, which is not empty.
	// softWeights replaces scores by weights and gives their sum by lanes (rule 7).
	bias        func(s []float32, slope float32, first int)
	largest     func(s []float32) float32
	softWeights func(s []float32, most float32) float32
}

// name is the family, with the variant.
func (s *set) name() string {
	if s.variant == "" {
		return s.family
	}
	return s.family + "+" + s.variant
}

// generic is the set that runs everywhere: the definitions.
func generic() *set {
	return &set{
		family: "generic", tile: genericTile, queries: 1,
		quantise: quantiseRow, mul: eachPanel(mulPanel), mulWide: mulWide,
		rmsNorm: rmsNorm, roundRow: roundRow, widenRow: widenRow, swiGLU: swiGLU, rotate: rotate, maxAbs: maxAbsBits,
		add: add, divide: divide,
		storeUnits: storeUnits, quantiseQuery: quantiseQuery, scores: scores, values: values,
		scoresHalf: scoresHalf, valuesHalf: valuesHalf, prefetch: func([]byte) {}, bias: bias, largest: largest, softWeights: softWeights,
	}
}

// sets lists what this machine can run, the fastest first.
func sets() []*set { return append(nativeSets(), generic()) }

// Sets names the sets of kernels that this machine can run, the fastest first.
func Sets() []string {
	var names []string
	for _, s := range sets() {
		names = append(names, s.name())
	}
	return names
}

// findSet gives the set of a name; "" is the fastest.
func findSet(name string) (*set, error) {
	for _, s := range sets() {
		if name == "" || name == s.name() {
			return s, nil
		}
	}
	return nil, fmt.Errorf("kernels %q: this machine has %v", name, Sets())
}
