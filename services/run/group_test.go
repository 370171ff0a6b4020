package run

import (
	"context"
	"errors"
	"log/slog"
	"testing"
)

func blocks(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func TestCleanStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	group := New(slog.New(slog.DiscardHandler))
	started := make(chan struct{})
	group.Add("one", func(ctx context.Context) error { close(started); return blocks(ctx) })
	group.Add("two", blocks)
	go func() { <-started; cancel() }()
	if err := group.Run(ctx); err != nil {
		t.Errorf("a clean stop gives %v", err)
	}
}

func TestFirstEndStopsAll(t *testing.T) {
	broken := errors.New("broken")
	for name, one := range map[string]struct{ end, want error }{
		"with an error":    {broken, broken},
		"without an error": {nil, ErrStopped},
	} {
		t.Run(name, func(t *testing.T) {
			group := New(slog.New(slog.DiscardHandler))
			stopped := false
			group.Add("ends", func(context.Context) error { return one.end })
			group.Add("goes on", func(ctx context.Context) error { stopped = true; return blocks(ctx) })
			if err := group.Run(t.Context()); !errors.Is(err, one.want) {
				t.Errorf("%v, want %v", err, one.want)
			}
			if !stopped {
				t.Error("the other service never ran")
			}
		})
	}
}
