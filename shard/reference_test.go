package shard_test

import (
	"math"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
)

// reference computes a checkpoint in float64 by the formulas of the published models, one token at a time:
// slow, plain and independent of the kernels.
type reference struct {
	config checkpoint.Config
	tensor map[string][]float64
	keys   [][][]float64 // [layer][token][hidden], rotated
	values [][][]float64
}

// newReference reads all weights of a checkpoint.
func newReference(t testing.TB, c *checkpoint.Checkpoint) *reference {
	t.Helper()
	r := &reference{config: c.Config, tensor: map[string][]float64{}}
	for _, info := range c.Tensors() {
		n := 1
		for _, d := range info.Shape {
			n *= d
		}
		raw := make([]float32, n)
		if err := c.Read(info.Name, 0, raw); err != nil {
			t.Fatal(err)
		}
		w := make([]float64, n)
		for i, v := range raw {
			w[i] = float64(v)
		}
		r.tensor[info.Name] = w
	}
	r.keys = make([][][]float64, r.config.Layers)
	r.values = make([][][]float64, r.config.Layers)
	if r.config.NormHead {
		normaliseRows(r.tensor["lm_head.weight"], r.config.Hidden)
	}
	return r
}

func normaliseRows(w []float64, k int) {
	for row := 0; row < len(w); row += k {
		s := 0.0
		for _, v := range w[row : row+k] {
			s += v * v
		}
		s = math.Max(math.Sqrt(s), 1e-12)
		for i := range k {
			w[row+i] /= s
		}
	}
}

// logits computes the next token.
func (r *reference) logits(id uint32) []float64 {
	d := r.config.Hidden
	x := append([]float64(nil), r.tensor["model.embed_tokens.weight"][int(id)*d:(int(id)+1)*d]...)
	for i := range r.config.Layers {
		p := layerPrefix(i)
		r.add(x, r.times(p+"self_attn.o_proj.weight", r.attend(i, r.norm(p+"input_layernorm.weight", x))))
		h := r.norm(p+"post_attention_layernorm.weight", x)
		gate, up := r.times(p+"mlp.gate_proj.weight", h), r.times(p+"mlp.up_proj.weight", h)
		for j, z := range gate {
			gate[j] = z / (1 + math.Exp(-z)) * up[j]
		}
		r.add(x, r.times(p+"mlp.down_proj.weight", gate))
	}
	return r.times("lm_head.weight", r.norm("model.norm.weight", x))
}

func layerPrefix(i int) string {
	return "model.layers." + string(rune('0'+i)) + "."
}

func (r *reference) add(x, y []float64) {
	for i := range x {
		x[i] += y[i]
	}
}

func (r *reference) norm(gain string, x []float64) []float64 {
	s := 0.0
	for _, v := range x {
		s += v * v
	}
	s = 1 / math.Sqrt(s/float64(len(x))+1e-6)
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v * s * r.tensor[gain][i]
	}
	return y
}

func (r *reference) times(name string, x []float64) []float64 {
	w := r.tensor[name]
	y := make([]float64, len(w)/len(x))
	for row := range y {
		s := 0.0
		for i, v := range x {
			s += w[row*len(x)+i] * v
		}
		y[row] = s
	}
	return y
}

func (r *reference) attend(layer int, x []float64) []float64 {
	d, heads := r.config.Hidden, r.config.Heads
	size := d / heads
	qkv := r.times(layerPrefix(layer)+"self_attn.W_pack.weight", x)
	pos := len(r.keys[layer])
	if r.config.Position == "rope" {
		r.rotate(qkv[:2*d], size, pos)
	}
	r.keys[layer] = append(r.keys[layer], qkv[d:2*d])
	r.values[layer] = append(r.values[layer], qkv[2*d:])
	out := make([]float64, d)
	for h := range heads {
		q := qkv[h*size : (h+1)*size]
		scores := make([]float64, pos+1)
		top := math.Inf(-1)
		for j := range scores {
			for i, v := range r.keys[layer][j][h*size : (h+1)*size] {
				scores[j] += q[i] * v
			}
			scores[j] /= math.Sqrt(float64(size))
			if r.config.Position == "alibi" {
				scores[j] += slope(h, heads) * float64(j-pos)
			}
			top = math.Max(top, scores[j])
		}
		sum := 0.0
		for j, s := range scores {
			scores[j] = math.Exp(s - top)
			sum += scores[j]
		}
		for j, p := range scores {
			for i, v := range r.values[layer][j][h*size : (h+1)*size] {
				out[h*size+i] += p / sum * v
			}
		}
	}
	return out
}

// rotate turns element i of each head with element i + size/2 (half-split).
func (r *reference) rotate(x []float64, size, pos int) {
	for h := 0; h < len(x); h += size {
		for i := range size / 2 {
			sin, cos := math.Sincos(float64(pos) * math.Pow(10000, -2*float64(i)/float64(size)))
			a, b := x[h+i], x[h+i+size/2]
			x[h+i], x[h+i+size/2] = a*cos-b*sin, b*cos+a*sin
		}
	}
}

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
