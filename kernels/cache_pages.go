package kernels

import (
	"encoding/binary"
	"fmt"
)

// area is the codes or the scales of a head's keys or values in a layer of a page, token by token.
type area struct {
	at, token int  // offset in the layer, bytes of a token
	scales    bool // float16 scales, else codes
}

// eachArea goes through a layer's pieces in their order: the keys' codes of all heads, their scales, then those of the
// values. It ends with the first error.
func (g *geometry) eachArea(do func(a area) error) error {
	for _, kind := range [4]area{
		{0, g.codeBytes, false}, {g.keyScales, g.scaleBytes, true},
		{g.values, g.codeBytes, false}, {g.valScales, g.scaleBytes, true},
	} {
		for h := range g.Heads {
			if err := do(area{kind.at + h*PageSize*kind.token, kind.token, kind.scales}); err != nil {
				return err
			}
		}
	}
	return nil
}

// LayerBytes is the size of so many tokens in one layer.
func (c *pagedCache) LayerBytes(tokens int) int { return c.layerBytes / PageSize * tokens }

// Copy makes page dst what page src is, in all layers, as far as its first tokens go.
func (c *pagedCache) Copy(dst, src int32, tokens int) {
	for layer := range c.Layers {
		to, from := c.layer(dst, layer), c.layer(src, layer)
		_ = c.eachArea(func(a area) error {
			copy(to[a.at:][:a.token*tokens], from[a.at:])
			return nil
		})
	}
}

// ReadPage writes the first tokens of one layer of a page to dst.
func (c *pagedCache) ReadPage(dst []byte, page int32, layer, tokens int) {
	if len(dst) != c.LayerBytes(tokens) {
		panic(fmt.Sprintf("kernels: ReadPage of %d tokens into %d bytes", tokens, len(dst)))
	}
	from := c.layer(page, layer)
	_ = c.eachArea(func(a area) error {
		dst = dst[copy(dst[:a.token*tokens], from[a.at:]):]
		return nil
	})
}

// WritePage is the reverse of ReadPage. It refuses, before anything has changed, bytes of another length, a code of -128
// and a scale or a number that is not finite or, of a scale, is below 0.
func (c *pagedCache) WritePage(page int32, layer, tokens int, src []byte) error {
	if tokens < 1 || tokens > PageSize || len(src) != c.LayerBytes(tokens) {
		return fmt.Errorf("%d bytes for %d tokens of a layer: want %d", len(src), tokens, c.LayerBytes(tokens))
	}
	rest := src
	err := c.eachArea(func(a area) error {
		b := rest[:a.token*tokens]
		rest = rest[len(b):]
		return c.checkArea(b, a.scales)
	})
	if err != nil {
		return err
	}
	to := c.layer(page, layer)
	return c.eachArea(func(a area) error {
		src = src[copy(to[a.at:], src[:a.token*tokens]):]
		return nil
	})
}

// checkArea says what is wrong with codes or scales that came from a stranger.
func (g *geometry) checkArea(b []byte, scales bool) error {
	if g.Format == Int8 && !scales {
		for i, v := range b {
			if v == 0x80 {
				return fmt.Errorf("code %d is -128: codes are -127 to 127", i)
			}
		}
		return nil
	}
	for i := 0; i+1 < len(b); i += 2 {
		h := binary.LittleEndian.Uint16(b[i:])
		if h&halfAbs >= halfInf || scales && h>>15 == 1 {
			return fmt.Errorf("number %d is %v", i/2, Float16to32(h))
		}
	}
	return nil
}
