package runner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/install"
	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/protocol"
	"github.com/slipway-io/slipway/services/agentapi/wire"
)

// Stages that the agent reports.
const (
	stageStarting   = "Starting installation"
	stageInstalling = "Installing"
	stageWriting    = "Writing image to disk"
	stageRebooting  = "Rebooting"
	stageFailed     = "Failed"
)

// reportLimit is how long a report of minor weight is tried.
const reportLimit = 30 * time.Second

// install writes the disk; when it is done only the reboot is missing.
func (r *Runner) install(ctx context.Context, request wire.InstallRequest) error {
	started := time.Now()
	if request.HostID != r.Client.Host() {
		return fmt.Errorf("the installation is for host %s", request.HostID)
	}
	if !strings.HasPrefix(request.ImageURL, "https://") || request.BootDevice == "" {
		return errors.New("the installation names no disk or no image over https")
	}
	r.say("installing to %s as %s", request.BootDevice, request.Role)
	r.report(ctx, stageStarting, request.Role, reportLimit)
	r.report(ctx, stageInstalling, request.Role, reportLimit)
	config, err := r.ignition(ctx)
	if err == nil {
		r.report(ctx, stageWriting, "", reportLimit)
		err = r.write(ctx, request, config)
	}
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		if ctx.Err() == nil {
			r.report(ctx, stageFailed, err.Error(), reportLimit)
		}
		return err
	}
	r.say("installation of %s took %s", request.BootDevice, time.Since(started).Round(100*time.Millisecond))
	return nil
}

// ignition tries again while the service has no answer yet.
func (r *Runner) ignition(ctx context.Context) ([]byte, error) {
	const enough = 10 * time.Minute
	started := time.Now()
	for {
		config, err := r.Client.Ignition(ctx)
		if err == nil {
			return config, nil
		}
		status := protocol.Status(err)
		if ctx.Err() != nil || status != 0 && status < http.StatusInternalServerError || time.Since(started) > enough {
			return nil, err
		}
		r.say("%v", err)
		sleep(ctx, shortPause)
	}
}

// write reports percents beside the writing, which must not wait for the service.
func (r *Runner) write(ctx context.Context, request wire.InstallRequest, config []byte) error {
	const step = 5
	network, err := keyfiles(r.Root)
	if err != nil {
		return err
	}
	percents := make(chan int, 1)
	var reporting sync.WaitGroup
	reporting.Go(func() {
		for percent := range percents {
			r.report(ctx, stageWriting, fmt.Sprintf("%d%%", percent), reportLimit)
		}
	})
	next := step
	err = install.Run(ctx, install.Job{
		Device: r.Root.Path(request.BootDevice), Ignition: config, Network: network, HTTP: r.Client.HTTP(), Note: r.say,
		Image: install.Image{
			URL: request.ImageURL, SHA256: request.ImageSHA256, CompressedSHA256: request.ImageCompressedSHA256,
			Size: request.ImageSize, CompressedSize: request.ImageCompressedSize,
		},
		Percent: func(percent int) {
			if percent < next {
				return
			}
			next = percent - percent%step + step
			r.say("writing image to disk: %d%%", percent)
			select {
			case percents <- percent:
			default:
			}
		},
	})
	close(percents)
	reporting.Wait()
	return err
}

// report tells a stage; what the service refuses is not tried again, and what it does not hear is for a while.
func (r *Runner) report(ctx context.Context, stage, info string, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for ctx.Err() == nil {
		err := r.Client.Progress(ctx, stage, info)
		if err == nil {
			return
		}
		r.say("%v", err)
		if status := protocol.Status(err); status != 0 && status < http.StatusInternalServerError {
			return
		}
		sleep(ctx, shortPause)
	}
}
