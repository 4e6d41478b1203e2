package kernels

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// shape checks format, sides and length of a matrix and says where its scales begin.
func (m Matrix) shape() (scalesAt int64, err error) {
	if m.Format != NF4 && m.Format != Int8 && m.Format != F16 && m.Format != BF16 {
		return 0, fmt.Errorf("matrix of format %v: want nf4, int8, bf16 or f16", m.Format)
	}
	if err := checkSides("matrix", m.Format, m.Rows, m.K); err != nil {
		return 0, err
	}
	size, at := m.Format.MatrixSize(m.Rows, m.K)
	if int64(len(m.Data)) != size {
		return 0, fmt.Errorf("matrix of %d rows of %d in %v has %d bytes: want %d", m.Rows, m.K, m.Format, len(m.Data), size)
	}
	return at, nil
}

// shape checks format, sides and length of a table and says where its scales begin.
func (t Table) shape() (scalesAt int64, err error) {
	if t.Format != Int8 && t.Format != F16 && t.Format != BF16 {
		return 0, fmt.Errorf("table of format %v: want int8, bf16 or f16", t.Format)
	}
	if err := checkSides("table", t.Format, t.Rows, t.K); err != nil {
		return 0, err
	}
	size, at := t.Format.TableSize(t.Rows, t.K)
	if int64(len(t.Data)) != size {
		return 0, fmt.Errorf("table of %d rows of %d in %v has %d bytes: want %d", t.Rows, t.K, t.Format, len(t.Data), size)
	}
	return at, nil
}

func checkSides(what string, f Format, rows, k int) error {
	if rows < 1 || k < 1 || rows > maxSide || k > maxSide {
		return fmt.Errorf("%s of %d rows of %d: out of range", what, rows, k)
	}
	if (f == NF4 || f == Int8) && k%Block != 0 {
		return fmt.Errorf("%s of %d rows of %d in %v: rows must be a multiple of %d long", what, rows, k, f, Block)
	}
	return nil
}

// CheckMatrix says what is wrong with a stored matrix: its length, a scale that is negative or not finite, an int8
// code of -128, a padding row that is not zero, a 16-bit number that is not finite. What passes gives no NaN or Inf of
// its own. The error names the row or the column.
func CheckMatrix(m Matrix) error {
	at, err := m.shape()
	if err != nil {
		return err
	}
	if m.Format == F16 || m.Format == BF16 {
		return check16("matrix", m.Format, m.K, m.Data)
	}
	blocks := m.K / Block
	for i := 0; i < len(m.Data[at:]); i += 2 { // i/2 = (panel*blocks + block)*16 + row
		row := i/2/(blocks*PanelRows)*PanelRows + i/2%PanelRows
		scale := binary.LittleEndian.Uint16(m.Data[int(at)+i:])
		if scale >= halfInf {
			return fmt.Errorf("matrix: a scale of row %d is negative or not finite (bits %04x)", row, scale)
		}
		if row >= m.Rows && scale != 0 {
			return fmt.Errorf("matrix: padding row %d has a scale", row)
		}
	}
	if m.Format == Int8 { // stored xor 0x80, so -128 is 0
		if i := bytes.IndexByte(m.Data[:at], 0); i >= 0 {
			return fmt.Errorf("matrix: an int8 code of row %d is -128", codeRow(m, i))
		}
	}
	return checkPadding(m, m.Data[:at])
}

// codeRow is the row that byte i of the codes belongs to.
func codeRow(m Matrix, i int) int {
	panelBytes := m.K / Block * int8BlockBytes
	if m.Format == NF4 {
		panelBytes = m.K / Block * nf4BlockBytes
	}
	return i/panelBytes*PanelRows + i%lineBytes/4
}

// checkPadding looks at the codes of the rows that pad the last panel.
func checkPadding(m Matrix, codes []byte) error {
	if m.Rows%PanelRows == 0 {
		return nil
	}
	zero := byte(0x80)
	if m.Format == NF4 {
		zero = nf4Zero | nf4Zero<<4
	}
	panels := m.Rows/PanelRows + 1
	for i := len(codes) / panels * (panels - 1); i < len(codes); i++ {
		if row := codeRow(m, i); row >= m.Rows && codes[i] != zero {
			return fmt.Errorf("matrix: padding row %d holds a code that is not zero", row)
		}
	}
	return nil
}

// CheckTable is CheckMatrix for an embedding. (Its codes end at a multiple of 64, so nothing lies before the scales.)
func CheckTable(t Table) error {
	at, err := t.shape()
	if err != nil {
		return err
	}
	if t.Format != Int8 {
		return check16("table", t.Format, t.K, t.Data)
	}
	if i := bytes.IndexByte(t.Data[:at], 0x80); i >= 0 {
		return fmt.Errorf("table: an int8 code of row %d is -128", i/t.K)
	}
	for i := 0; i < len(t.Data[at:]); i += 2 {
		if scale := binary.LittleEndian.Uint16(t.Data[int(at)+i:]); scale >= halfInf {
			return fmt.Errorf("table: a scale of row %d is negative or not finite (bits %04x)", i/2/(t.K/Block), scale)
		}
	}
	return nil
}

// CheckGain says what is wrong with a stored gain: float32, little endian, finite.
func CheckGain(b []byte) error {
	if len(b) == 0 || len(b)%4 != 0 || len(b)/4 > maxSide {
		return fmt.Errorf("gain of %d bytes: want a multiple of 4", len(b))
	}
	for i := 0; i < len(b); i += 4 {
		if v := math.Float32frombits(binary.LittleEndian.Uint32(b[i:])); notFinite(v) {
			return fmt.Errorf("gain: number %d is %v", i/4, v)
		}
	}
	return nil
}

// check16 finds numbers that are not finite.
func check16(what string, f Format, k int, data []byte) error {
	inf := uint16(halfInf)
	if f == BF16 {
		inf = infBits >> 16
	}
	for i := 0; i < len(data); i += 2 {
		if binary.LittleEndian.Uint16(data[i:])&halfAbs >= inf {
			return fmt.Errorf("%s: row %d holds a number that is not finite", what, i/2/k)
		}
	}
	return nil
}
