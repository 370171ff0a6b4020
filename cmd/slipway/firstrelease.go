package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/services/run"
	"github.com/slipway-io/slipway/services/web"
)

// lookAgain is how soon a release that was mirrored meanwhile is found.
const lookAgain = time.Second

// findRelease takes the newest release of the configuration, else the newest one that was mirrored into the registry.
func (a *appliance) findRelease(ctx context.Context) error {
	if len(a.imported) > 0 {
		a.releaseImage = release.Repository + ":" + a.imported[len(a.imported)-1].Version
		return nil
	}
	image, newest, err := a.releases.Newest(ctx)
	if err != nil {
		return fmt.Errorf("find a release: %w", err)
	}
	a.imported, a.releaseImage = []release.Release{*newest}, image
	return nil
}

// awaitRelease has a release for the management API in the end. An appliance without one serves its registry, and nothing else, until one is mirrored into it.
func (a *appliance) awaitRelease(ctx context.Context, group *run.Group) error {
	if err := a.findRelease(ctx); !errors.Is(err, release.ErrNotFound) {
		return err
	}
	config, routes := a.registryFront(everywhere(a.config.Ports.Registry))
	front, err := web.New(config, routes)
	if err == nil {
		err = front.Listen(ctx)
	}
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- front.Run(serving) }()
	a.log.Warn("there is no release: the appliance waits until one is mirrored into its registry, with `slipway mirror`, or is named in the configuration (releases)",
		"registry", a.registryHost(), "users", len(a.ownUsers))
	if err := a.awaitMirrored(ctx, ended); err != nil {
		stop()
		return err
	}
	a.registryServed = true
	group.Add("registry", func(ctx context.Context) error {
		defer stop()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			stop()
			return <-ended
		}
	})
	return nil
}

func (a *appliance) awaitMirrored(ctx context.Context, ended <-chan error) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return errors.Join(errors.New("registry: its server ended before there was a release"), err)
		case <-tick.C:
		}
		if err := a.findRelease(ctx); !errors.Is(err, release.ErrNotFound) {
			if err == nil {
				a.log.Info("a release was mirrored", "image", a.releaseImage)
			}
			return err
		}
	}
}
