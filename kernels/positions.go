package kernels

import (
	"fmt"
	"math/big"
	"math/bits"
)

// Slopes gives the ALiBi slope of each head: the float32 nearest to 2^(-8(h+1)/P) for h < P, and to
// 2^(-4(2(h-P)+1)/P) above, with P the largest power of two <= heads (Press et al. 2022).
func Slopes(heads int) []float32 {
	if heads < 1 {
		panic(fmt.Sprintf("kernels: slopes of %d heads", heads))
	}
	p := 1 << (bits.Len(uint(heads)) - 1)
	root := newFloat().SetMantExp(newFloat().SetInt64(1), -4)
	for q := p; q > 1; q /= 2 {
		root.Sqrt(root)
	}
	slopes := make([]float32, heads)
	power := newFloat().SetInt64(1) // root^k, root = 2^(-4/p)
	for k := 1; k <= 2*p; k++ {
		power.Mul(power, root)
		switch h := p + k/2; {
		case k%2 == 0:
			slopes[k/2-1], _ = power.Float32()
		case h < heads:
			slopes[h], _ = power.Float32()
		}
	}
	return slopes
}

// RotaryTable gives the float32s nearest to cos and sin of p * theta^(-2i/headSize), i < headSize/2, at
// [p*headSize/2 + i] for p < positions. headSize is even and theta at least 1, below 10^12.
func RotaryTable(theta float64, headSize, positions int) (cos, sin []float32) {
	r := newRotary(theta, headSize)
	r.extend(positions)
	return r.cos, r.sin
}

// rotary makes a table position by position: the angle of p+1 is that of p turned by the base angle. How it is
// extended has no influence on what it holds.
type rotary struct {
	half             int
	baseCos, baseSin []*big.Float // of position 1
	nowCos, nowSin   []*big.Float // of the position that comes next
	ac, bs, as, bc   *big.Float
	cos, sin         []float32
}

func newFloat() *big.Float { return new(big.Float).SetPrec(rootBits) }

func newRotary(theta float64, headSize int) *rotary {
	if !(theta >= 1 && theta < maxTheta) || headSize < 2 || headSize%2 != 0 {
		panic(fmt.Sprintf("kernels: rotary table of theta %v and head size %d", theta, headSize))
	}
	r := &rotary{half: headSize / 2}
	for _, t := range []**big.Float{&r.ac, &r.bs, &r.as, &r.bc} {
		*t = new(big.Float).SetPrec(tableBits)
	}
	ratio := newFloat().Quo(newFloat().SetInt64(1), root(theta, r.half))
	angle := newFloat().SetInt64(1)
	for range r.half {
		c, s := cosSin(angle)
		r.baseCos, r.baseSin = append(r.baseCos, c.SetPrec(tableBits)), append(r.baseSin, s.SetPrec(tableBits))
		r.nowCos = append(r.nowCos, new(big.Float).SetPrec(tableBits).SetInt64(1))
		r.nowSin = append(r.nowSin, new(big.Float).SetPrec(tableBits))
		angle.Mul(angle, ratio)
	}
	return r
}

// extend makes the table hold at least so many positions.
func (r *rotary) extend(positions int) {
	for len(r.cos) < positions*r.half {
		for i := range r.half {
			c, _ := r.nowCos[i].Float32()
			s, _ := r.nowSin[i].Float32()
			r.cos, r.sin = append(r.cos, c), append(r.sin, s)
			r.turn(i)
		}
	}
}

// turn moves angle i on by one position.
func (r *rotary) turn(i int) {
	r.ac.Mul(r.nowCos[i], r.baseCos[i])
	r.bs.Mul(r.nowSin[i], r.baseSin[i])
	r.as.Mul(r.nowCos[i], r.baseSin[i])
	r.bc.Mul(r.nowSin[i], r.baseCos[i])
	r.nowCos[i].Sub(r.ac, r.bs)
	r.nowSin[i].Add(r.bc, r.as)
}

// at gives the table's rows of a position.
func (r *rotary) at(position int) (cos, sin []float32) {
	return r.cos[position*r.half:][:r.half], r.sin[position*r.half:][:r.half]
}

// root is the n-th root of x >= 1, by Newton's method. It starts above the root (Bernoulli: (1+(x-1)/n)^n >= x), from
// where the steps go down until rounding stops them.
func root(x float64, n int) *big.Float {
	want, count := newFloat().SetFloat64(x), newFloat().SetInt64(int64(n))
	one := newFloat().SetInt64(1)
	y := newFloat().Sub(want, one)
	y.Quo(y, count).Add(y, one)
	for {
		power := newFloat().Set(one) // y^(n-1)
		for range n - 1 {
			power.Mul(power, y)
		}
		step := newFloat().Quo(want, power)
		step.Sub(y, step).Quo(step, count) // (y - x/y^(n-1)) / n
		next := newFloat().Sub(y, step)
		if next.Cmp(y) >= 0 {
			return y
		}
		y = next
	}
}

// cosSin gives cos and sin of 0 <= x <= 1 by their series.
func cosSin(x *big.Float) (cos, sin *big.Float) {
	cos, sin = newFloat(), newFloat()
	term := newFloat().SetInt64(1)
	for n := int64(0); term.Sign() != 0 && term.MantExp(nil) > -rootBits; n++ {
		sum := cos
		if n%2 == 1 {
			sum = sin
		}
		if n%4 < 2 {
			sum.Add(sum, term)
		} else {
			sum.Sub(sum, term)
		}
		term.Mul(term, x)
		term.Quo(term, newFloat().SetInt64(n+1))
	}
	return cos, sin
}

// rotate turns the pairs (x[i], x[i+half]) of a head by the angles whose cos and sin are given (rotary positions of
// the half-split kind: Su et al. 2021; NUMERICS rule 7). len(x) = 2*len(cos) = 2*len(sin).
func rotate(x, cos, sin []float32) {
	a, b := x[:len(cos)], x[len(cos):]
	for i, c := range cos {
		s := sin[i]
		a[i], b[i] = float32(a[i]*c)-float32(b[i]*s), float32(b[i]*c)+float32(a[i]*s)
	}
}
