package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/run"
)

// collectAt is how much the heap grows before it is collected, in percent; GOGC says otherwise. Memory of thousands of hosts
// grows once and stays, and a small machine has the control planes beside it.
const collectAt = 50

type upFlags struct {
	stateDir, config, kubeconfig, logLevel string
}

func upCommand() *cobra.Command {
	f := &upFlags{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the appliance",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&f.stateDir, "state-dir", defaultStateDir, "directory for everything that the appliance keeps")
	cmd.Flags().StringVar(&f.config, "config", "/etc/slipway/slipway.yaml", "configuration file")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "use this cluster for the API instead of running an own one")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func (f *upFlags) run(ctx context.Context) error {
	started := time.Now()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	config, err := api.ReadConfig(f.config)
	if err != nil {
		return err
	}
	if err := errors.Join(checkInterfaces(ctx, config), checkPorts(ctx, config)); err != nil {
		return err
	}
	unlock, err := lockStateDir(f.stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	a, err := open(ctx, config, f.stateDir, log)
	if err != nil {
		return err
	}
	defer a.close()
	group := run.New(log)
	if err := a.startAPI(ctx, f.kubeconfig, group); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil { // stopped while it waited
			return nil
		}
		return err
	}
	if err := a.wire(ctx, group); err != nil {
		return err
	}
	log.Info("appliance is up", "after", time.Since(started).Round(time.Millisecond), "kubeconfig", a.kubeconfigPath(), "site", config.Domain)
	err = group.Run(ctx)
	log.Info("appliance stops, hosted control planes go on")
	return err
}

// checkPorts refuses a taken port before anything is written. The management API's own port may be held by its
// control plane, which outlives the appliance.
func checkPorts(ctx context.Context, config *api.Config) error {
	var faults []error
	var listen net.ListenConfig
	for _, port := range []struct {
		key    string
		number int
		unused bool
	}{{"http", config.Ports.HTTP, config.HTTP.Off()}, {"https", config.Ports.HTTPS, false}, {"registry", config.Ports.Registry, false}, {"dns", config.Ports.DNS, false}} {
		if port.unused {
			continue
		}
		listener, err := listen.Listen(ctx, "tcp", ":"+strconv.Itoa(port.number))
		if err != nil {
			faults = append(faults, fmt.Errorf("ports.%s: %w: see what holds it with `ss -lntp sport = :%d`, or give another port", port.key, err, port.number))
			continue
		}
		faults = append(faults, listener.Close())
	}
	return errors.Join(faults...)
}

// lockStateDir keeps a second appliance off the same state.
func lockStateDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("close state directory to others: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: another `slipway up` uses this state directory: %w", dir, err)
	}
	return func() { lock.Close() }, nil
}
