package main

import (
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestByteRate_ReadsWhatPeopleWrite(t *testing.T) {
	for text, want := range map[string]byteRate{
		"20Mbit": 2_500_000, "20 mbit": 2_500_000, "20Mbit/s": 2_500_000, "64kbit": 8000, "1Gbit": 125_000_000, "0.5 Mbit": 62_500,
		"2.5MB/s": 2_500_000, "512KiB/s": 512 << 10, "100kB/s": 100_000, "8000 B/s": 8000, "64000bit": 8000, "1e1Mbit": 1_250_000,
	} {
		var got byteRate
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%q is %d bytes/s (%v), want %d", text, got, err, want)
		}
	}
}

func TestByteRate_RefusesInALineWithARemedy(t *testing.T) {
	for text, remedy := range map[string]string{
		"": "20Mbit", "20": "20Mbit", "Mbit": "20Mbit", "0Mbit": "20Mbit", "-1Mbit": "20Mbit", "NaNMbit": "20Mbit", "20Mb/s": "20Mbit",
		"20MB": "20Mbit", "20Mbit/m": "20Mbit", "20/sMbit": "20Mbit", "infMbit": "20Mbit", "1kbit": "64kbit", "63.9kbit": "64kbit", "9e18Gbit": "64kbit to 8000Gbit",
		"1e400Mbit": "20Mbit",
	} {
		var got byteRate
		err := got.Set(text)
		if err == nil || got != 0 || !strings.Contains(err.Error(), remedy) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q became %d bytes/s, error %v; want one that names %s", text, got, err, remedy)
		}
	}
}

// Whatever is written becomes a rate that an offer may carry, or an error; and what is printed can be read again.
func FuzzByteRate(f *testing.F) {
	for _, text := range []string{"20Mbit", "2.5MB/s", "64kbit", "0x1p20bit", "1_000kbit", "1GiB/s", " 20Mbit", "20Mbit ", "\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got, again byteRate
		if err := got.Set(text); err != nil {
			return
		}
		if got < leastUpload || got > protocol.MaxNetRate {
			t.Fatalf("%q became %d bytes/s", text, got)
		}
		if err := again.Set(got.String()); err != nil || again != got {
			t.Fatalf("%q became %v, which is read as %v (%v)", text, got, again, err)
		}
	})
}
