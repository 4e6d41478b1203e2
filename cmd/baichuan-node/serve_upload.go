package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// leastUpload is the least that --upload may be, in bytes/s: 64 kbit/s. Below it a token's row of the 13B, 10 KB, takes
// more than a second, so nobody would send steps here.
const leastUpload = 64_000 / 8

// mostUpload is the most: a round number below protocol.MaxNetRate, which an offer may carry.
const mostUpload = 8_000_000_000_000 / 8

// byteRate is a flag's bytes/s, written as providers of lines write it: 20Mbit. Or as disks' makers do: 2.5MB/s.
type byteRate uint64

// rateUnits are bytes/s by unit. Bits may be written in any case; b and B are told apart nowhere else.
func rateUnits() map[string]float64 {
	return map[string]float64{
		"bit": 1. / 8, "kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8,
		"B/s": 1, "kB/s": 1e3, "KB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, "KiB/s": 1 << 10, "MiB/s": 1 << 20, "GiB/s": 1 << 30,
	}
}

// unitOf gives a unit's bytes/s. Bits are a rate with and without /s.
func unitOf(text string) (float64, bool) {
	if unit, ok := rateUnits()[text]; ok {
		return unit, true
	}
	bits := strings.ToLower(strings.TrimSuffix(text, "/s"))
	unit, ok := rateUnits()[bits]
	return unit, ok && strings.HasSuffix(bits, "bit")
}

// Set is part of pflag.Value.
func (r *byteRate) Set(text string) error {
	digits := strings.TrimRight(text, "/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	n, err := strconv.ParseFloat(digits, 64)
	unit, ok := unitOf(strings.TrimSpace(text[len(digits):]))
	if err != nil || !ok || !(n > 0) {
		return fmt.Errorf("%q is not a speed: want one like 20Mbit or 2.5MB/s", text)
	}
	bytes := math.Round(n * unit)
	if !(bytes >= leastUpload && bytes <= mostUpload) {
		return fmt.Errorf("%q is out of bounds: want %v to %v", text, byteRate(leastUpload), byteRate(mostUpload))
	}
	*r = byteRate(bytes)
	return nil
}

// Type is part of pflag.Value.
func (r *byteRate) Type() string { return "speed" }

// String writes the rate in bits, in the largest unit of which it is at least one.
func (r byteRate) String() string {
	bits, unit := float64(r)*8, "bit"
	for _, larger := range []string{"kbit", "Mbit", "Gbit"} {
		if bits < 1000 {
			break
		}
		bits, unit = bits/1000, larger
	}
	if r == 0 {
		return "" // no default to show in the help
	}
	return strconv.FormatFloat(bits, 'f', -1, 64) + unit
}
