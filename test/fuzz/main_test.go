package main

import "testing"

func TestFuzzed(t *testing.T) {
	for progress, want := range map[string]bool{
		"": false,
		"elapsed: 0s, gathering baseline coverage: 0/3 completed":                             false,
		"elapsed: 0s, gathering baseline coverage: 3/3 completed, now fuzzing with 1 workers": false,
		"elapsed: 6s, execs: 6 (0/sec), new interesting: 0 (total: 3)":                        false, // made one input shorter all the time
		"elapsed: 6s, execs: 490 (0/sec), new interesting: 0 (total: 464)":                    false,
		"elapsed: 15s, execs: 769 (82/sec), new interesting: 35 (total: 38)":                  true,
		"elapsed: 1m30s, execs: 352192 (30479/sec), new interesting: 17 (total: 29)":          true,
		"elapsed: 3s, execs: 99999999999999999999 (1/sec), new interesting: 0 (total: 3)":     false,
	} {
		if got := fuzzed(progress); got != want {
			t.Errorf("%q: %v", progress, got)
		}
	}
}
