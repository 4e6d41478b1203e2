// Package reference computes a checkpoint in float64 by the formulas of the published models: slow, plain and
// independent of the kernels, which are judged by it.
//
// It rounds nothing on the way and reads the weights from the checkpoint itself, so that what a stored format loses
// shows in the difference. It holds all weights in float64: it is meant for models of some million parameters.
package reference

import (
	"fmt"
	"math"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
)

// Model is a checkpoint's weights and what they mean. It never changes: several sequences may be computed at once.
type Model struct {
	config     checkpoint.Config
	eps, theta float64
	tensor     map[string][]float64 // row-major; the rows of a NormHead have length one
}

// New reads all weights of a checkpoint.
func New(c *checkpoint.Checkpoint) (*Model, error) {
	m := &Model{config: c.Config, tensor: map[string][]float64{}}
	var err error
	if m.eps, err = c.Config.Eps.Float64(); err != nil {
		return nil, fmt.Errorf("rms_norm_eps: %w", err)
	}
	if c.Config.Position == checkpoint.Rope {
		if m.theta, err = c.Config.Theta.Float64(); err != nil {
			return nil, fmt.Errorf("rope_theta: %w", err)
		}
	}
	for _, info := range c.Tensors() {
		n := 1
		for _, d := range info.Shape {
			n *= d
		}
		raw := make([]float32, n)
		if err := c.Read(info.Name, 0, raw); err != nil {
			return nil, err
		}
		w := make([]float64, n)
		for i, v := range raw {
			w[i] = float64(v)
		}
		m.tensor[info.Name] = w
	}
	if m.config.NormHead {
		normaliseRows(m.tensor["lm_head.weight"], m.config.Hidden)
	}
	return m, nil
}

func normaliseRows(w []float64, k int) {
	for row := 0; row < len(w); row += k {
		s := math.Max(math.Sqrt(dot(w[row:row+k], w[row:row+k])), 1e-12)
		for i := range k {
			w[row+i] /= s
		}
	}
}

// Sequence is the keys and values of some tokens.
type Sequence struct {
	m      *Model
	keys   [][][]float64 // [layer][token][hidden], rotated
	values [][][]float64
}

// NewSequence makes an empty sequence.
func (m *Model) NewSequence() *Sequence {
	return &Sequence{m: m, keys: make([][][]float64, m.config.Layers), values: make([][][]float64, m.config.Layers)}
}

// Append computes the next tokens, whose ids must be of the vocabulary, and gives the logits after each: [token][id].
func (s *Sequence) Append(ids ...uint32) [][]float64 {
	d := s.m.config.Hidden
	embedding := s.m.tensor["model.embed_tokens.weight"]
	x := make([][]float64, len(ids))
	for t, id := range ids {
		x[t] = append([]float64(nil), embedding[int(id)*d:(int(id)+1)*d]...)
	}
	for i := range s.m.config.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		add(x, s.m.times(p+"self_attn.o_proj.weight", s.attend(i, s.m.norm(p+"input_layernorm.weight", x))))
		h := s.m.norm(p+"post_attention_layernorm.weight", x)
		gate, up := s.m.times(p+"mlp.gate_proj.weight", h), s.m.times(p+"mlp.up_proj.weight", h)
		for t := range gate {
			for j, z := range gate[t] {
				gate[t][j] = z / (1 + math.Exp(-z)) * up[t][j]
			}
		}
		add(x, s.m.times(p+"mlp.down_proj.weight", gate))
	}
	return s.m.times("lm_head.weight", s.m.norm("model.norm.weight", x))
}

func add(x, y [][]float64) {
	for t := range x {
		for i := range x[t] {
			x[t][i] += y[t][i]
		}
	}
}

func (m *Model) norm(gain string, x [][]float64) [][]float64 {
	y := make([][]float64, len(x))
	for t, row := range x {
		s := 1 / math.Sqrt(dot(row, row)/float64(len(row))+m.eps)
		y[t] = make([]float64, len(row))
		for i, v := range row {
			y[t][i] = v * s * m.tensor[gain][i]
		}
	}
	return y
}

// times multiplies a matrix with the row of each token.
func (m *Model) times(name string, x [][]float64) [][]float64 {
	w, k := m.tensor[name], len(x[0])
	y := make([][]float64, len(x))
	for t := range y {
		y[t] = make([]float64, len(w)/k)
	}
	for row := range len(w) / k {
		weights := w[row*k : (row+1)*k]
		for t := range x {
			y[t][row] = dot(weights, x[t])
		}
	}
	return y
}

// dot sums in four lanes, so that no product waits for the sum before it.
func dot(a, b []float64) float64 {
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// attend appends the keys and values of x to the layer's and gives what each token sees of those up to its own.
func (s *Sequence) attend(layer int, x [][]float64) [][]float64 {
	d := s.m.config.Hidden
	size := d / s.m.config.Heads
	out := make([][]float64, len(x))
	for t, qkv := range s.m.times(fmt.Sprintf("model.layers.%d.self_attn.W_pack.weight", layer), x) {
		if s.m.config.Position == checkpoint.Rope {
			rotate(qkv[:2*d], size, len(s.keys[layer]), s.m.theta)
		}
		s.keys[layer] = append(s.keys[layer], qkv[d:2*d])
		s.values[layer] = append(s.values[layer], qkv[2*d:])
		out[t] = make([]float64, d)
		for h := range s.m.config.Heads {
			s.attendHead(layer, h, out[t][h*size:(h+1)*size], qkv[h*size:(h+1)*size])
		}
	}
	return out
}

// attendHead gives out what a head's query q, of the last token, sees.
func (s *Sequence) attendHead(layer, h int, out, q []float64) {
	size, pos := len(q), len(s.keys[layer])-1
	scores := make([]float64, pos+1)
	top := math.Inf(-1)
	for j := range scores {
		scores[j] = dot(q, s.keys[layer][j][h*size:(h+1)*size]) / math.Sqrt(float64(size))
		if s.m.config.Position == checkpoint.Alibi {
			scores[j] += slope(h, s.m.config.Heads) * float64(j-pos)
		}
		top = math.Max(top, scores[j])
	}
	sum := 0.0
	for j, v := range scores {
		scores[j] = math.Exp(v - top)
		sum += scores[j]
	}
	for j, p := range scores {
		for i, v := range s.values[layer][j][h*size : (h+1)*size] {
			out[i] += p / sum * v
		}
	}
}

// rotate turns element i of each head with element i + size/2 (half-split).
func rotate(x []float64, size, pos int, theta float64) {
	for h := 0; h < len(x); h += size {
		for i := range size / 2 {
			sin, cos := math.Sincos(float64(pos) * math.Pow(theta, -2*float64(i)/float64(size)))
			a, b := x[h+i], x[h+i+size/2]
			x[h+i], x[h+i+size/2] = a*cos-b*sin, b*cos+a*sin
		}
	}
}

// slope is ALiBi's for a head.
func slope(h, heads int) float64 {
	p := 1
	for 2*p <= heads {
		p *= 2
	}
	if h < p {
		return math.Exp2(-8 * float64(h+1) / float64(p))
	}
	return math.Exp2(-4 * float64(2*(h-p)+1) / float64(p))
}
