package remote

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestGateHalvesAndGrows(t *testing.T) {
	g := newGate(8)
	var quiet []time.Duration
	wait := func(_ context.Context, d time.Duration) error {
		quiet = append(quiet, d)
		return nil
	}
	enter := func(n int) {
		t.Helper()
		for range n {
			if err := g.enter(t.Context(), wait); err != nil {
				t.Fatal(err)
			}
		}
	}
	full := func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return errors.Is(g.enter(ctx, wait), context.Canceled)
	}
	enter(8)
	if !full() {
		t.Error("the ninth request is let in")
	}
	for range 8 {
		g.leave(false)
	}
	g.slow(30 * time.Second)
	enter(4)
	if !full() {
		t.Error("after a refusal the bound is not halved")
	}
	if len(quiet) == 0 || quiet[0] < 20*time.Second {
		t.Errorf("waited %v, want the silence that was asked for", quiet)
	}
	for range 4 {
		g.leave(true)
	}
	for range 40 { // answers let it grow back, and not above what it was
		enter(1)
		g.leave(true)
	}
	enter(8)
	if !full() {
		t.Error("the bound grows above its limit")
	}
	for range 8 {
		g.leave(true)
	}
	for range 10 {
		g.slow(0)
	}
	enter(1) // it never closes altogether
}
