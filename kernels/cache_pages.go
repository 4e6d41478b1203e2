package kernels

import (
	"encoding/binary"
	"fmt"
)

// area is one of the four pieces of a layer of a page, token by token.
type area struct {
	at, token int  // offset in the layer, bytes of a token
	scales    bool // float16 scales, else codes
}

// areas lists the pieces of a layer in their order.
func (g *geometry) areas() [4]area {
	codes := g.keyScales / PageSize
	return [4]area{
		{0, codes, false}, {g.keyScales, g.scaleBytes, true},
		{g.values, codes, false}, {g.valScales, g.scaleBytes, true},
	}
}

// LayerBytes is the size of so many tokens in one layer.
func (c *pagedCache) LayerBytes(tokens int) int { return c.layerBytes / PageSize * tokens }

// Copy makes page dst what page src is, in all layers, as far as its first tokens go.
func (c *pagedCache) Copy(dst, src int32, tokens int) {
	for layer := range c.Layers {
		to, from := c.layer(dst, layer), c.layer(src, layer)
		for _, a := range c.areas() {
			copy(to[a.at:][:a.token*tokens], from[a.at:])
		}
	}
}

// ReadPage writes the first tokens of one layer of a page to dst.
func (c *pagedCache) ReadPage(dst []byte, page int32, layer, tokens int) {
	if len(dst) != c.LayerBytes(tokens) {
		panic(fmt.Sprintf("kernels: ReadPage of %d tokens into %d bytes", tokens, len(dst)))
	}
	from := c.layer(page, layer)
	for _, a := range c.areas() {
		dst = dst[copy(dst[:a.token*tokens], from[a.at:]):]
	}
}

// WritePage is the reverse of ReadPage. It refuses, before anything has changed, bytes of another length, a code of -128
// and a scale or a number that is not finite or, of a scale, is below 0.
func (c *pagedCache) WritePage(page int32, layer, tokens int, src []byte) error {
	if tokens < 1 || tokens > PageSize || len(src) != c.LayerBytes(tokens) {
		return fmt.Errorf("%d bytes for %d tokens of a layer: want %d", len(src), tokens, c.LayerBytes(tokens))
	}
	rest := src
	for _, a := range c.areas() {
		if err := c.checkArea(rest[:a.token*tokens], a.scales); err != nil {
			return err
		}
		rest = rest[a.token*tokens:]
	}
	to := c.layer(page, layer)
	for _, a := range c.areas() {
		copy(to[a.at:], src[:a.token*tokens])
		src = src[a.token*tokens:]
	}
	return nil
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
