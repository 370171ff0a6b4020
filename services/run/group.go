// Package run is a group of named services: start, readiness, stop; knows no service.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// Service runs until its context ends and then returns nil; any other end is an error.
type Service struct {
	Name string
	Run  func(context.Context) error
}

// Group runs services together: the first that ends stops the others.
type Group struct {
	log      *slog.Logger
	services []Service
}

// New makes an empty group.
func New(log *slog.Logger) *Group {
	return &Group{log: log}
}

// Add puts a service into the group; it starts with Run.
func (g *Group) Add(name string, run func(context.Context) error) {
	g.services = append(g.services, Service{Name: name, Run: run})
}

// ErrStopped says that a service ended although nobody asked it to.
var ErrStopped = errors.New("stopped by itself")

// Run starts everything and waits for its end. A clean stop of the context gives nil.
func (g *Group) Run(ctx context.Context) error {
	running, groupCtx := errgroup.WithContext(ctx)
	for _, service := range g.services {
		running.Go(func() error {
			started := time.Now()
			err := service.Run(groupCtx)
			if ctx.Err() != nil || groupCtx.Err() != nil {
				if err != nil && !errors.Is(err, context.Canceled) {
					g.log.Error("service stop", "service", service.Name, "err", err)
				}
				return nil
			}
			if err == nil {
				err = ErrStopped
			}
			return fmt.Errorf("%s after %s: %w", service.Name, time.Since(started).Round(time.Second), err)
		})
	}
	return running.Wait()
}
