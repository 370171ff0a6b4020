package main

import "testing"

func TestBandwidth(t *testing.T) {
	for text, want := range map[string]float64{"": 0, "100": 100, "12k": 12e3, "1.5M": 1.5e6, "2G": 2e9} {
		limit, perSecond, err := limiter(text)
		if err != nil || perSecond != want || (limit == nil) != (want == 0) {
			t.Errorf("%q: %v, %v", text, perSecond, err)
		}
		if limit != nil && limit.Burst() < 64<<10 {
			t.Errorf("%q: a read of 64 KiB does not fit a burst of %d", text, limit.Burst())
		}
	}
	for _, text := range []string{"fast", "-1M", "0", "1T", "Inf", "NaN", "M"} {
		if _, _, err := limiter(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
