package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-io/slipway/services/dhcp"
)

// peer is a server that is measured.
type peer interface {
	name() string
	// command runs it in the foreground with its files in dir. The profile is a file, for those that make one.
	command(dir, profile string) (*exec.Cmd, error)
}

// kea is ISC Kea as baselines are taken: memfile store on disk, one thread, no ping, a line in a log for each lease.
type kea struct{}

func (kea) name() string { return "kea" }

func (kea) command(dir, _ string) (*exec.Cmd, error) {
	config := fmt.Sprintf(`{"Dhcp4": {
  "interfaces-config": {"interfaces": ["s0/%s"], "dhcp-socket-type": "udp"},
  "lease-database": {"type": "memfile", "persist": true, "name": "%s/leases.csv"},
  "multi-threading": {"enable-multi-threading": false},
  "valid-lifetime": 3600,
  "subnet4": [{"id": 1, "subnet": "10.77.0.0/16", "pools": [{"pool": "10.77.16.0 - 10.77.255.250"}],
    "option-data": [{"name": "routers", "data": "10.77.0.254"}, {"name": "domain-name-servers", "data": "%s"}, {"name": "domain-name", "data": "site.example"}]}],
  "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "%s/kea.log"}]}]
}}`, serverAddress, dir, serverAddress, dir)
	path := filepath.Join(dir, "kea.json")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("kea-dhcp4", "-c", path)
	cmd.Env = []string{"KEA_PIDFILE_DIR=" + dir, "KEA_LOCKFILE_DIR=" + dir}
	return cmd, nil
}

// slipway is this program with services/dhcp in it.
type slipway struct{}

func (slipway) name() string { return "slipway" }

func (slipway) command(dir, profile string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "slipway.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "serve", dir)
	cmd.Stderr = log
	if profile != "" {
		cmd.Env = []string{"SLIPWAY_BENCH_PROFILE=" + profile}
	}
	return cmd, nil
}

func serve(ctx context.Context, dir string) error {
	if path := os.Getenv("SLIPWAY_BENCH_PROFILE"); path != "" {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	own := netip.MustParseAddr(serverAddress)
	server, err := dhcp.Listen(ctx, dhcp.Config{
		Interface: "s0", Address: netip.PrefixFrom(own, 16), Dir: dir, LeaseTime: time.Hour,
		Ranges:  []dhcp.Range{{From: netip.MustParseAddr("10.77.16.0"), To: netip.MustParseAddr("10.77.255.250")}},
		Gateway: netip.MustParseAddr("10.77.0.254"), DNS: []netip.Addr{own}, Domain: "site.example",
	}, dhcp.Chain{}, nil, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
